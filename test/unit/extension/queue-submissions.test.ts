import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ProjectAudits } from '../../../src/extension/project-audit.js';
import type { QueueAccess } from '../../../src/extension/queue-access.js';
import { QueueSubmissions } from '../../../src/extension/queue-submissions.js';
import { SubmissionMemory } from '../../../src/extension/stored-submission.js';
import type { RunnerHost } from '../../../src/extension/runner-host.js';
import { CancelledError, UnusableInputError } from '../../../src/protocol/errors.js';
import type { CancelSignal } from '../../../src/runner/client.js';
import type { QueueParams, QueueProgress, SubmitterParams } from '../../../src/protocol/queue-messages.js';

/** What becomes of a submission that ends, fails or is stopped; the editor, the server and the user's answers are the test's. */

const editor = vi.hoisted(
  (): { said: string[]; answers: (string | undefined)[]; buttons: string[][]; picked: { placeHolder?: string }[] } => ({
    said: [],
    answers: [],
    buttons: [],
    picked: [],
  }),
);
vi.mock('vscode', () => {
  const say = (text: string, ...more: unknown[]): Promise<string | undefined> => {
    editor.said.push(text);
    editor.buttons.push(more.filter((own) => typeof own === 'string'));
    return Promise.resolve(editor.answers.shift());
  };
  return {
    workspace: {
      isTrusted: true,
      workspaceFolders: [{ name: 'work', uri: { fsPath: '/work', scheme: 'file' } }],
      getConfiguration: () => ({ get: (_key: string, otherwise: unknown) => otherwise }),
    },
    ProgressLocation: { Notification: 15 },
    CancellationTokenSource: class {
      private readonly listeners: (() => void)[] = [];
      readonly token = { onCancellationRequested: (listener: () => void) => this.listeners.push(listener) };
      cancel(): void {
        this.listeners.forEach((listener) => {
          listener();
        });
      }
      dispose(): void {
        this.listeners.length = 0;
      }
    },
    window: {
      // The user stops at once what a notification shows.
      withProgress: ({ title }: { title: string }, work: (progress: object, token: object) => Promise<unknown>) => {
        editor.said.push(title);
        const onCancellationRequested = (listener: () => void): void => {
          listener();
        };
        return work({ report: () => undefined }, { onCancellationRequested });
      },
      showInformationMessage: say,
      showWarningMessage: say,
      showErrorMessage: say,
      showQuickPick: (items: unknown, options: { placeHolder?: string }) => {
        editor.picked.push(options);
        return Promise.resolve(items);
      },
    },
  };
});

const storage = mkdtempSync(join(tmpdir(), 'gradleak-submissions-'));
afterAll(() => {
  rmSync(storage, { recursive: true, force: true });
});

/** Of the workspace's folder. */
const MANIFEST = `${createHash('sha256').update('/work').digest('hex').slice(0, 16)}.jsonl`;
const KNOWN = { address: 'redis://host', store: '/store', folder: '/work', manifest: '/m.jsonl', isFollowed: true };
const PLAN = {
  root: '/work',
  skipped: [],
  settingsKey: 'key',
  entries: [{ id: '0'.repeat(20), gradients: 'g.pt', checkpoint: 'c.pt', fit: 1 }],
};
const DONE: QueueProgress = {
  jobs: 3,
  waiting: 0,
  running: 0,
  delayed: 0,
  done: 3,
  failed: 0,
  missing: 0,
  dead: [],
  workers: 1,
  isAway: false,
};
let memory: Map<string, unknown>;
/** What the child was asked for. */
let asked: string[];
let logins: QueueParams['place']['login'][];
/** How each time of following ends. */
let ends: (QueueProgress | Error)[];
let kept: unknown[];
/** Who submitted and cancelled, in this order. */
let submitters: string[];
let summaries: number;
/** The server takes what it is asked for, and does not answer. */
let hangs: boolean;
/** When the report was finished that is shown. */
let shown: string | undefined;

function untilStopped(what: string, signal: CancelSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.onCancel(() => {
      asked.push(`${what} stopped`);
      reject(new CancelledError());
    });
  });
}

function submissions(entered?: { user: string; password: string }): QueueSubmissions {
  const client = {
    follow: (params: QueueParams, told: (progress: QueueProgress) => void) => {
      asked.push('follow');
      logins.push(params.place.login);
      const end = ends.shift() ?? DONE;
      if (end instanceof Error) {
        return Promise.reject(end);
      }
      told(end);
      return Promise.resolve(end);
    },
    collect: () => {
      shown = `collected ${asked.push('collect')}`;
      return Promise.resolve();
    },
    checkQueue: (_params: unknown, signal: CancelSignal) =>
      hangs ? untilStopped('check', signal) : Promise.resolve({ risks: [] }),
    submit: ({ submitter }: SubmitterParams) => {
      submitters.push(submitter);
      return Promise.resolve(asked.push('submit'));
    },
    cancelJobs: ({ submitter }: SubmitterParams, signal: CancelSignal) => {
      if (hangs) {
        return untilStopped('cancel', signal);
      }
      submitters.push(submitter);
      return Promise.resolve((asked.push('cancel'), { removed: 2, stopped: 1, shared: 3 }));
    },
    lookAtQueue: (_params: QueueParams, signal: CancelSignal) =>
      hangs ? untilStopped('look', signal) : Promise.resolve({ ...DONE, done: 0, missing: 3 }),
    retryJobs: (_params: QueueParams, signal: CancelSignal) =>
      hangs ? untilStopped('retry', signal) : Promise.resolve((asked.push('retry'), 1)),
  };
  const project = {
    isRunning: false,
    folderOf: () => join(storage, 'out'),
    finishedOf: () => shown,
    plan: () => Promise.resolve(PLAN),
    hasChanged: () => undefined,
    alone: (_root: string, _title: string, work: (own: object) => Promise<unknown>) =>
      work({ advance: () => undefined, notify: () => undefined, token: { onCancellationRequested: () => undefined } }),
  };
  const access = {
    place: () => Promise.resolve({ address: KNOWN.address, login: null }),
    store: () => Promise.resolve(KNOWN.store),
    placeAt: (address: string) => Promise.resolve({ address, login: null }),
    askForLogin: () => Promise.resolve(entered),
    keepLogin: (...login: unknown[]) => Promise.resolve(void kept.push(login)),
  };
  return new QueueSubmissions(
    storage,
    { get: () => Promise.resolve(client) } as unknown as RunnerHost,
    project as unknown as ProjectAudits,
    access as unknown as QueueAccess,
    submissionMemory(),
    { info: () => undefined, warn: () => undefined, error: () => undefined },
    () => summaries++,
  );
}

function submissionMemory(): SubmissionMemory {
  const memento = {
    keys: () => [...memory.keys()],
    get: (key: string) => memory.get(key),
    update: (key: string, value: unknown) => Promise.resolve(void memory.set(key, value)),
  };
  return new SubmissionMemory(memento, () => undefined);
}

function isFollowed(): unknown {
  return (memory.get('gradleak.queue.submission') as typeof KNOWN).isFollowed;
}

beforeEach(() => {
  Object.assign(editor, { said: [], answers: [], buttons: [], picked: [] });
  [shown, hangs] = [undefined, false];
  memory = new Map([['gradleak.queue.submission', KNOWN]]);
  [asked, logins, ends, kept, submitters, summaries] = [[], [], [], [], [], 0];
});

describe('a submission', () => {
  it('that is done is fetched, shown and followed no more', async () => {
    await submissions().follow();
    expect([asked, summaries, isFollowed()]).toEqual([['follow', 'collect'], 1, false]);
    expect(editor.said).toEqual(['3 of 3 jobs of the queue are done.']);
  });

  it('is changed by nothing that an earlier one comes to', async () => {
    const own = submissionMemory();
    const [earlier, later] = [KNOWN, { ...KNOWN, id: 'later' }];
    await own.keep(later);
    await own.change(earlier, { isFollowed: false, isOver: true });
    expect(own.known()).toEqual(later);
    await own.change(later, { isOver: true });
    expect(own.known()).toEqual({ ...later, isOver: true });
  });

  it('with jobs that left the queue replaces no report unasked', async () => {
    ends = [{ ...DONE, done: 2, missing: 1 }];
    await submissions().follow();
    expect([asked, summaries]).toEqual([['follow'], 0]);
    expect(editor.said[0]).toContain('no result in /store');
    ends = [{ ...DONE, done: 2, missing: 1 }];
    editor.answers = ['Show results so far'];
    await submissions().follow();
    expect([asked, summaries]).toEqual([['follow', 'follow', 'collect'], 1]);
  });

  it('of which jobs failed replaces no report of this machine unasked, and tells so', async () => {
    shown = 'of this machine';
    const dead = [{ gradients: 'g.pt', reason: 'It broke.' }];
    ends = [{ ...DONE, done: 2, failed: 1, dead }];
    await submissions().follow();
    expect([asked, summaries, shown]).toEqual([['follow'], 0, 'of this machine']);
    expect(editor.said[0]).toContain('take the place of the audit of this workspace that is here');
    expect(editor.buttons[0]).toEqual(['Try them again', 'Show results so far', 'Show log']);
    [ends, editor.answers] = [[{ ...DONE, done: 2, failed: 1, dead }], ['Show results so far']];
    await submissions().follow();
    expect([asked, summaries]).toEqual([['follow', 'follow', 'collect'], 1]);
    // Its own results are brought up to date, and a report that came since is asked for again.
    ends = [{ ...DONE, done: 2, failed: 1, dead }];
    await submissions().follow();
    expect(asked.slice(3)).toEqual(['follow', 'collect']);
    shown = 'of this machine, later';
    await submissions().follow();
    expect(asked.slice(5)).toEqual(['follow']);
    expect(editor.said.at(-1)).toContain('3 of 3 jobs of the queue are done. When shown, the results take the place');
  });

  it('says before it is made that its results take the place of a report, and they do once all are done', async () => {
    memory = new Map();
    await submissions().submit();
    expect(editor.picked.at(-1)?.placeHolder).toBe('Enter starts');
    [asked, shown] = [[], 'of this machine'];
    await submissions().submit();
    expect(editor.picked.at(-1)?.placeHolder).toContain(
      'results take the place of the audit of this workspace that is here',
    );
    expect(asked).toEqual(['submit', 'follow', 'collect']);
    [asked, shown, ends] = [[], 'of this machine', [{ ...DONE, done: 2, failed: 1 }]];
    await submissions().submit();
    expect(asked).toEqual(['submit', 'follow']);
  });

  it('with failed jobs tries these again by a button, and is followed on', async () => {
    const dead = [{ gradients: 'g.pt', reason: 'It broke.' }];
    ends = [{ ...DONE, done: 2, failed: 1, dead }];
    editor.answers = ['Try them again'];
    await submissions().follow();
    expect(asked).toEqual(['follow', 'collect', 'retry', 'follow', 'collect']);
    expect(editor.said[0]).toBe('2 of 3 jobs of the queue are done. 1 failed (g.pt): It broke.');
  });

  it('that is stopped is cancelled, left alone or followed on, as the user says', async () => {
    ends = [new CancelledError()];
    editor.answers = ['Remove Jobs'];
    await submissions().follow();
    expect([asked, isFollowed()]).toEqual([['follow', 'cancel'], false]);
    expect(editor.said.at(-1)).toContain(
      '2 jobs removed from the queue, 1 asked to stop, 3 left, as they were submitted from elsewhere too.',
    );
    [asked, ends, editor.answers] = [[], [new CancelledError()], ['Only Stop Following']];
    await submissions().follow();
    expect([asked, isFollowed()]).toEqual([['follow'], false]);
    [asked, ends, editor.answers] = [[], [new CancelledError()], [undefined]];
    await submissions().follow();
    expect([asked, isFollowed()]).toEqual([['follow', 'follow', 'collect'], false]);
  });

  it('is cancelled as who submitted it, also after a reload, and as nobody from another workspace', async () => {
    ends = [new CancelledError()];
    editor.answers = ['Submit', 'Only Stop Following'];
    await submissions().submit();
    const own = memory;
    memory = new Map([['gradleak.queue.submission', KNOWN]]);
    editor.answers = ['Remove Jobs'];
    await submissions().cancel();
    memory = own;
    editor.answers = ['Remove Jobs'];
    await submissions().cancel();
    expect(submitters).toHaveLength(3);
    expect(submitters[2]).toBe(submitters[0]);
    expect(submitters[1]).not.toBe(submitters[0]);
    expect(editor.said).toContain('Cancel the jobs of this workspace in the queue at redis://host?');
  });

  it('that is not over gives way to another one when the user says so', async () => {
    const question =
      'The submission of work to the queue at redis://host is not over as far as is known. Submit again?';
    const isAsked = (): boolean => editor.said.splice(0).includes(question);
    const submitted = async (...answers: (string | undefined)[]): Promise<boolean> => {
      [asked, editor.answers] = [[], answers];
      await submissions().submit();
      return asked.includes('submit');
    };
    rmSync(join(storage, MANIFEST), { force: true });
    // One of an earlier version, of which nobody knows.
    expect([await submitted(undefined), isAsked()]).toEqual([false, true]);
    expect(memory.get('gradleak.queue.submission')).toBe(KNOWN);
    expect(existsSync(join(storage, MANIFEST))).toBe(false);
    ends = [new CancelledError()];
    expect([await submitted('Submit', 'Only Stop Following'), isAsked()]).toEqual([true, true]);
    const manifest = statSync(join(storage, MANIFEST)).ino;
    expect([await submitted(undefined), isAsked()]).toEqual([false, true]);
    expect(statSync(join(storage, MANIFEST)).ino).toBe(manifest);
    // Nobody is asked whose jobs were cancelled, or ended, or have all left the queue.
    editor.answers = ['Remove Jobs'];
    await submissions().cancel();
    expect([await submitted(), isAsked()]).toEqual([true, false]);
    ends = [{ ...DONE, done: 2, failed: 1 }];
    expect([await submitted('Try them again'), isAsked()]).toEqual([true, false]);
    expect(asked.slice(-3)).toEqual(['retry', 'follow', 'collect']);
    ends = [new CancelledError()];
    expect([await submitted('Only Stop Following'), isAsked()]).toEqual([true, false]);
    await submissions().show();
    expect([await submitted(), isAsked()]).toEqual([true, false]);
    // What is tried again is not over once more.
    // The first is said of how many wait again.
    editor.answers = [undefined, 'Only Stop Following'];
    ends = [new CancelledError()];
    await submissions().retry();
    expect([await submitted(undefined), isAsked()]).toEqual([false, true]);
  });

  it('asks a server that hangs no longer than the user wants to, and shows nothing of one that answers', async () => {
    await submissions().show();
    expect(editor.said).toEqual([]);
    hangs = true;
    editor.answers = ['Remove Jobs'];
    const own = submissions();
    await own.cancel();
    await Promise.all([own.show(), own.retry(), own.submit()]);
    expect(asked.sort()).toEqual(['cancel stopped', 'check stopped', 'look stopped', 'retry stopped']);
    expect(editor.said.slice(1)).toEqual(Array.from({ length: 4 }, () => 'GradLeak: asking redis://host'));
    expect(memory.get('gradleak.queue.submission')).toEqual({ ...KNOWN, isOver: true });
  });

  it('goes on after a reload, unless it is done or left alone', async () => {
    submissions().resume();
    await vi.waitFor(() => {
      expect(asked).toEqual(['follow', 'collect']);
    });
    submissions().resume();
    await Promise.resolve();
    expect(asked).toEqual(['follow', 'collect']);
  });

  it('asks who this is where nobody has said so yet, and keeps what the server took', async () => {
    const refused = new UnusableInputError({
      code: 'login-refused',
      file: KNOWN.address,
      found: 'this',
      expected: 'that',
      advice: 'Do so.',
    });
    const login = { user: 'me', password: 'right' };
    ends = [refused, DONE];
    await submissions(login).follow();
    expect(logins).toEqual([null, login]);
    expect(kept).toEqual([[KNOWN.address, login]]);
    kept = [];
    ends = [refused, refused];
    await submissions(login).follow();
    expect(kept).toEqual([]);
    expect(editor.said.at(-1)).toContain('redis://host: found this; expected that.');
    // A later window tries again.
    expect(isFollowed()).toBe(true);
  });
});
