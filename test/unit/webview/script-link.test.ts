import type { TemplateResult } from 'lit';
import { describe, expect, it } from 'vitest';
import { scriptLink } from '../../../webview/views/script-link.js';

const SCRIPT = { file: '\\\\server\\share\\train.py', line: 41 };

/** The template's text, its values in place. */
function textOf({ strings, values }: TemplateResult): string {
  return strings.map((text, at) => text + (typeof values[at] === 'string' ? values[at] : '')).join('');
}

describe('the way to the line that captured', () => {
  const live = { isLive: true, why: undefined, open: () => undefined };

  it('is a button where the host opens the script', () => {
    const own = scriptLink(SCRIPT, live);
    expect(textOf(own)).toMatch(/<button(?! disabled)[^>]*>train\.py:41<\/button>$/);
    expect(own.values).toContain(live.open);
  });

  it('is off where it does not, and says why', () => {
    const own = scriptLink(SCRIPT, { ...live, why: 'It is elsewhere.' });
    expect(textOf(own)).toMatch(/<button[^>]* disabled[^>]*>train\.py:41<\/button>.*>It is elsewhere\.<\/span>$/);
    expect(own.values).not.toContain(live.open);
  });

  it('is text on a saved page', () => {
    expect(textOf(scriptLink(SCRIPT, { ...live, isLive: false }))).not.toContain('<button');
  });
});
