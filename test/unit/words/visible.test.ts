import { describe, expect, it } from 'vitest';
import { visible, visibleInList, visibleInNotification } from '../../../src/words/visible.js';

describe('what a file says, printed', () => {
  it.each([
    ['an escape sequence', 'a\u001b[2Jb', 'a\\u001b[2Jb'],
    ['a title', '\u001b]0;x\u0007', '\\u001b]0;x\\u0007'],
    ['a C1 control', '\u009b31m', '\\u009b31m'],
    ['a carriage return', 'real\rfalse', 'real\\u000dfalse'],
    ['a turned direction', 'gnp.\u202etxt', 'gnp.\\u202etxt'],
    ['a command of GitHub', 'x\n  ::error::y', 'x\n  \\u003a:error::y'],
    ['the same at the start', '::set-output::y', '\\u003a:set-output::y'],
    ['a command of Azure', 'x ##vso[task.complete]', 'x \\u0023#vso[task.complete]'],
    ['an older command of GitHub', '##[error]', '\\u0023#[error]'],
  ])('%s does nothing', (_, text, wanted) => {
    expect(visible(text)).toBe(wanted);
  });

  it('leaves letters of any script, tabs, lines, and colons within lines', () => {
    const text = 'Größe\t名前\nconv1::weight # [3]\nשלום 🙂';
    expect(visible(text)).toBe(text);
  });

  it('keeps JSON what it says', () => {
    const value = { name: '\u009b31m\u202e', lines: ['::error::', '##[x]'] };
    expect(JSON.parse(visible(JSON.stringify(value, undefined, 1)))).toEqual(value);
  });
});

describe('what a file says, shown by VS Code', () => {
  /** As VS Code finds links in a notification. */
  const LINK = /\[([^\]]+)\]\(((?:https?:\/\/|command:|file:)[^)\s]+)/i;
  /** As VS Code finds icons in a list; one behind a backslash is text. */
  const ICON = /(?<!\\)\$\([a-z0-9-]+(?:~[a-z]+)?\)/i;

  it.each(['[Retry](command:workbench.action.quit)', 'a]b](command:x) [c](https://x.y)', '[\u001b](file:///x)'])(
    'is no link in a notification: %j',
    (text) => {
      expect(text).toMatch(LINK);
      expect(visibleInNotification(text)).not.toMatch(LINK);
      expect(visibleInNotification(text)).toBe(visible(visibleInNotification(text)));
    },
  );

  it.each(['$(pass) all well', 'x$(sync~spin)', '$($(pass)'])('is no icon in a list: %j', (text) => {
    expect(text).toMatch(ICON);
    expect(visibleInList(text)).not.toMatch(ICON);
  });

  it('keeps brackets and dollars that are text', () => {
    const text = 'weight[3] (float32), 5 $ and $(not an icon)';
    expect(visibleInNotification(text)).toBe(text);
    expect(visibleInList(text)).toBe(text);
  });
});
