import { beforeEach, describe, expect, it, vi } from 'vitest';
import { QueueAccess } from '../../../src/extension/queue-access.js';
import { QueueLogins } from '../../../src/extension/queue-logins.js';
import { submissionOf } from '../../../src/extension/stored-submission.js';

/** Where the queue is and what logs in; settings, secrets and the user's answers are the test's. */

const editor = vi.hoisted(
  (): {
    settings: Record<string, string>;
    /** Of settings files that are not written to. */
    fixed: Record<string, string>;
    answers: (string | undefined)[];
    asked: { title?: string; password?: boolean; validateInput?: (text: string) => string | undefined }[];
    said: string[];
    pressed: string | undefined;
  } => ({ settings: {}, fixed: {}, answers: [], asked: [], said: [], pressed: undefined }),
);
vi.mock('vscode', () => ({
  ConfigurationTarget: { Global: 1 },
  workspace: {
    getConfiguration: () => ({
      get: (key: string, fallback: string) => editor.fixed[key] ?? editor.settings[key] ?? fallback,
      update: (key: string, value: string, target: number) => {
        expect(target).toBe(1);
        editor.settings[key] = value;
        return Promise.resolve();
      },
    }),
  },
  window: {
    showInputBox: (options: (typeof editor.asked)[number]) => {
      editor.asked.push(options);
      return Promise.resolve(editor.answers.shift());
    },
    showWarningMessage: (text: string) => {
      editor.said.push(text);
      return Promise.resolve(editor.pressed);
    },
  },
}));

const stored = new Map<string, string>();
const logins = new QueueLogins({
  get: (key) => Promise.resolve(stored.get(key)),
  store: (key, value) => {
    stored.set(key, value);
    return Promise.resolve();
  },
  delete: (key) => {
    stored.delete(key);
    return Promise.resolve();
  },
});
const access = new QueueAccess(logins);
const LOGIN = { user: 'me', password: 'hunter2' };

beforeEach(() => {
  Object.assign(editor, { settings: {}, fixed: {}, answers: [], asked: [], said: [], pressed: undefined });
  stored.clear();
});

describe('what logs in', () => {
  it('is of one server, and is not sent to another', async () => {
    await logins.keep('redis://one', LOGIN);
    expect(await logins.of('redis://one')).toEqual(LOGIN);
    expect(await logins.of('redis://other')).toBeUndefined();
    expect(await logins.forget()).toEqual(['redis://one']);
    expect(await logins.of('redis://one')).toBeUndefined();
    expect(await logins.forget()).toEqual([]);
  });

  it.each(['not JSON', 'null', '[]', '{"redis://one":{"user":1}}', '{"one":{"user":"","password":""}}'])(
    'is asked for again where what is stored is not ours: %s',
    async (text) => {
      stored.set('gradleak.queue', text);
      expect(await logins.of('redis://one')).toBeUndefined();
      expect(await logins.forget()).toEqual([]);
    },
  );

  it('is typed unseen, and is stored by nobody before the server has taken it', async () => {
    editor.answers = ['me', 'hunter2'];
    expect(await access.askForLogin('redis://one')).toEqual(LOGIN);
    expect(editor.asked.map(({ password }) => password)).toEqual([undefined, true]);
    expect(stored.size).toBe(0);
    editor.answers = ['me', undefined];
    expect(await access.askForLogin('redis://one')).toBeUndefined();
  });
});

describe('the server', () => {
  it('is asked for where no setting says it, kept as a setting, and its login as a secret', async () => {
    editor.answers = [' rediss://me:hunter2@host:6380/1 '];
    expect(await access.place()).toEqual({ address: 'rediss://host:6380/1', login: LOGIN });
    expect(editor.settings).toEqual({ 'gradleak.queue.url': 'rediss://host:6380/1' });
    expect(await access.place()).toEqual({ address: 'rediss://host:6380/1', login: LOGIN });
    expect(editor.asked).toHaveLength(1);
    expect(editor.asked[0]?.validateInput?.('localhost:6379')).toMatch(/^Expected redis:/);
    expect(editor.asked[0]?.validateInput?.('redis://host')).toBeUndefined();
  });

  it('is left open where the user gives none', async () => {
    expect(await access.place()).toBeUndefined();
    expect(editor.settings).toEqual({});
  });

  it('with a password in its setting is used only after that was moved', async () => {
    editor.settings['gradleak.queue.url'] = 'redis://me:hunter2@host';
    expect(await access.place()).toBeUndefined();
    expect(stored.size).toBe(0);
    expect(editor.said[0]).toContain('gradleak.queue.url holds a password');
    editor.pressed = 'Move to Secret Storage';
    expect(await access.place()).toEqual({ address: 'redis://host', login: LOGIN });
    expect(editor.settings).toEqual({ 'gradleak.queue.url': 'redis://host' });
    expect(editor.said.join('\n')).not.toContain('hunter2');
  });

  it('whose password stays in another settings file is not used, and that is said', async () => {
    editor.fixed['gradleak.queue.url'] = 'redis://me:hunter2@host';
    editor.pressed = 'Move to Secret Storage';
    expect(await access.place()).toBeUndefined();
    expect(editor.said.at(-1)).toContain('a settings file still holds it');
  });

  it('that is none is told without what it may hold', async () => {
    editor.settings['gradleak.queue.url'] = 'me:hunter2@host:6379';
    const error: unknown = await access.place().catch((own: unknown) => own);
    expect(error).toMatchObject({ code: 'no-server', parts: { next: ['enter-queue', 'open-settings'] } });
    expect(JSON.stringify([error, String(error)])).not.toContain('hunter2');
  });
});

describe('the store', () => {
  it('is asked for, and kept', async () => {
    editor.answers = ['/shared/store'];
    expect(await access.store()).toBe('/shared/store');
    expect(await access.store()).toBe('/shared/store');
    expect(editor.asked).toHaveLength(1);
    const validate = editor.asked[0]?.validateInput;
    expect(validate?.('s3://bucket/prefix')).toBeUndefined();
    expect(validate?.('store')).toMatch(/^Expected the path/);
    expect(validate?.('s3://')).toMatch(/^Expected s3:/);
  });

  it('that cannot be one is an error with its next step', async () => {
    editor.settings['gradleak.queue.store'] = './store';
    await expect(access.store()).rejects.toMatchObject({ parts: { next: ['choose-store', 'open-settings'] } });
  });
});

describe('what is kept of a submission', () => {
  const whole = { address: 'redis://host', store: '/s', folder: '/w', manifest: '/m.jsonl', isFollowed: true };

  it('is read as it was written, and nothing else is', () => {
    expect(submissionOf(whole)).toEqual(whole);
    const more = { ...whole, isOver: true, replaced: 'then', collected: 'now' };
    expect(submissionOf(more)).toEqual(more);
    for (const other of [
      undefined,
      null,
      'text',
      {},
      { ...whole, address: 'redis://me:pw@host' },
      { ...whole, address: 'host' },
      { ...whole, manifest: 'm.jsonl' },
      { ...whole, isFollowed: undefined },
      { ...whole, isOver: 'yes' },
      { ...whole, replaced: 1 },
      { ...whole, collected: {} },
    ]) {
      expect(submissionOf(other)).toBeUndefined();
    }
  });
});
