import { beforeEach, describe, expect, it, vi } from 'vitest';
import { failureSentence, offerSteps } from '../../../src/extension/failures.js';
import { type AuditFiles, type AuditWays, stepsFrom, takeStep } from '../../../src/extension/next-steps.js';
import { UnusableInputError, type UnusableInputParts } from '../../../src/protocol/errors.js';

/** What the editor offers after a failure, and what its buttons do; answers of the user are the test's. */

const host = vi.hoisted(
  (): {
    commands: unknown[][];
    /** What the user picks, types or opens. */
    answer: unknown;
    validated: ((text: string) => string | undefined) | undefined;
    offered: string[];
  } => ({ commands: [], answer: undefined, validated: undefined, offered: [] }),
);
vi.mock('vscode', () => ({
  Uri: { file: (fsPath: string) => ({ fsPath }) },
  workspace: { workspaceFolders: [{ uri: { fsPath: '/work/project', scheme: 'file' } }] },
  commands: {
    executeCommand: (...command: unknown[]): Promise<void> => {
      host.commands.push(command);
      return Promise.resolve();
    },
  },
  window: {
    showOpenDialog: () => Promise.resolve(host.answer),
    showInputBox: ({ validateInput }: { validateInput?: (text: string) => string | undefined }) => {
      host.validated = validateInput;
      return Promise.resolve(host.answer);
    },
    showQuickPick: (items: { label: string }[]) => {
      host.offered = items.map(({ label }) => label);
      return Promise.resolve(items.find(({ label }) => label === host.answer));
    },
  },
}));

const FILES: AuditFiles = { checkpoint: '/work/project/c.pt', gradients: '/work/project/run/g.pt', given: {} };
let done: unknown[] = [];
const ways: AuditWays = {
  run: (files) => say(['run', files]),
  start: (gradients) => say(['start', gradients]),
  chooseCheckpoint: () => Promise.resolve({ checkpoint: '/work/project/other.pt' }),
  chooseGradient: () => Promise.resolve('/work/project/other.pt'),
  remember: (checkpoint, gradients) => say(['remember', checkpoint, gradients]),
};
const again = (): Promise<void> => say('again');

function say(what: unknown): Promise<void> {
  done.push(what);
  return Promise.resolve();
}

function unusable(own: Pick<UnusableInputParts, 'code'> & Partial<UnusableInputParts>): UnusableInputError {
  return new UnusableInputError({ file: FILES.gradients, found: 'this', expected: 'that', advice: 'Do so.', ...own });
}

beforeEach(() => {
  done = [];
  Object.assign(host, { commands: [], answer: undefined, validated: undefined, offered: [] });
});

describe('what is said of a failure', () => {
  it('has paths as the workspace has them, and base names of what lies outside', () => {
    expect(failureSentence(unusable({ code: 'no-match', found: 'no part of /else/where/c.pt' }))).toBe(
      'run/g.pt: found no part of c.pt; expected that. Do so.',
    );
    expect(failureSentence(new Error('cannot read /work/project/a.pt\n    at there'))).toBe(
      'GradLeak failed: cannot read a.pt',
    );
  });

  it('is short where a button does the rest', () => {
    const swapped = unusable({ code: 'swapped-files', found: 'weights' });
    expect(failureSentence(swapped)).toBe('The checkpoint and the gradient look swapped. run/g.pt: found weights.');
  });
});

describe('what is offered', () => {
  it('replaces the file at fault, whichever it is', () => {
    const at = (file: string): string[] =>
      stepsFrom({ error: unusable({ code: 'malformed-file', file }), again, audit: { files: FILES, ways } });
    expect(at(FILES.gradients)).toEqual(['choose-gradient', 'open-log']);
    expect(at('/work/project/c.pt')).toEqual(['choose-checkpoint', 'open-log']);
    expect(at('/work/project/config.json')).toEqual(['retry', 'open-log']);
  });

  it('is only what can be done without files where there are none', () => {
    expect(stepsFrom({ error: unusable({ code: 'no-match' }), again })).toEqual(['open-log']);
    expect(stepsFrom({ error: unusable({ code: 'no-engine' }), again })).toEqual(['show-engines', 'open-log']);
    expect(stepsFrom({ error: new Error('a defect'), again })).toEqual(['retry', 'open-log']);
  });

  it('of what is done through a queue is taken there, and tried again where that helps', async () => {
    const error = unusable({ code: 'login-refused' });
    expect(stepsFrom({ error, again })).toEqual(['retry', 'open-log']);
    const took: string[] = [];
    const helps = { value: true };
    const context = {
      error,
      again,
      queue: {
        take: (step: string) => {
          took.push(step);
          return Promise.resolve(helps.value);
        },
      },
    };
    expect(stepsFrom(context)).toEqual(['enter-login', 'retry', 'open-log']);
    await takeStep('enter-login', context);
    expect([took, done]).toEqual([['enter-login'], ['again']]);
    helps.value = false;
    await takeStep('choose-store', context);
    expect([took, done]).toEqual([['enter-login', 'choose-store'], ['again']]);
  });

  it('fits into a notification, the log last, and is done when it is chosen', async () => {
    const shown: string[][] = [];
    const answering =
      (answer: string | undefined) =>
      (text: string, ...actions: string[]) => {
        shown.push([text, ...actions]);
        return Promise.resolve(answer);
      };
    const steps = ['choose-network', 'choose-output', 'choose-input-shape', 'labels-only', 'open-log'] as const;
    const take = (step: string): Promise<void> => say(step);
    await offerSteps(answering("Enter the input's shape"), 'Failed.', steps, take);
    await offerSteps(answering(undefined), 'Failed.', steps, take);
    expect(shown[0]).toEqual(['Failed.', "Choose the network's file", "Enter the input's shape", 'Show log']);
    expect(done).toEqual(['choose-input-shape']);
  });
});

describe('a step', () => {
  const context = (error?: unknown) => ({ error, again, audit: { files: FILES, ways } });

  it.each([
    ['choose-checkpoint', { ...FILES, checkpoint: '/work/project/other.pt' }],
    ['choose-gradient', { ...FILES, gradients: '/work/project/other.pt' }],
    ['without-checkpoint', { ...FILES, checkpoint: undefined }],
    ['labels-only', { ...FILES, given: { attack: 'none' } }],
    ['recovered-labels', { ...FILES, given: { labels: 'recovered' } }],
  ] as const)('%s audits again', async (step, files) => {
    await takeStep(step, context());
    expect(done).toEqual([['run', files]]);
  });

  it('swap-files exchanges them, and remembers which is the checkpoint', async () => {
    await takeStep('swap-files', context());
    const [gradients, checkpoint] = [FILES.checkpoint, FILES.gradients];
    expect(done).toEqual([
      ['remember', checkpoint, gradients],
      ['run', { checkpoint, gradients, given: {} }],
    ]);
  });

  it('choose-gradient asks for the checkpoint of another gradient where there was none', async () => {
    const files = { ...FILES, checkpoint: undefined };
    await takeStep('choose-gradient', { again, audit: { files, ways } });
    expect(done).toEqual([['start', '/work/project/other.pt']]);
  });

  it.each([
    ['choose-network', [{ fsPath: '/work/net.onnx' }], { model: '/work/net.onnx' }],
    ['choose-input-shape', '3x32x32', { inputShape: [3, 32, 32] }],
    ['choose-batch-size', '4', { batchSize: 4 }],
    ['state-training', 'lr=0.1, samples=8', { training: { learningRate: 0.1, samples: 8 } }],
    ['choose-head', 'fc', { head: 'fc' }],
    ['choose-layout', 'Features x classes, as in Keras and Flax', { layout: 'dxk' }],
  ] as const)('%s asks, and keeps what was chosen before', async (step, answer, own) => {
    const files = { ...FILES, given: { attack: 'chain' as const } };
    await takeStep(step, { again, audit: { files, ways } });
    expect(done).toEqual([]);
    host.answer = answer;
    await takeStep(step, { again, audit: { files, ways } });
    expect(done).toEqual([['run', { ...FILES, given: { attack: 'chain', ...own } }]]);
  });

  it('says what is wrong with a number while it is typed', async () => {
    await takeStep('choose-batch-size', context());
    expect(host.validated?.('2')).toBeUndefined();
    expect(host.validated?.('0')).toMatch(/whole number/);
    await takeStep('state-training', context());
    expect(host.validated?.('lr=0.1,epochs=2')).toBeUndefined();
    expect(host.validated?.('lr=0.1,epochs=half')).toMatch(/whole number/);
    expect(host.validated?.('rate=0.1')).toMatch(/as in lr=0.01/);
    expect(host.validated?.('lr=0.1,lr=0.2')).toMatch(/twice/);
    await takeStep('choose-input-shape', context());
    expect(host.validated?.('1x28x28')).toBeUndefined();
    expect(host.validated?.('wide')).toMatch(/such as 3x32x32/);
  });

  it('choose-head offers the layers that the error names', async () => {
    host.answer = 'fc2.weight';
    await takeStep('choose-head', context(unusable({ code: 'several-heads', choices: ['fc1.weight', 'fc2.weight'] })));
    expect(host.offered).toEqual(['fc1.weight', 'fc2.weight']);
    expect(done).toEqual([['run', { ...FILES, given: { head: 'fc2.weight' } }]]);
  });

  it('inspect-file opens the file at fault, or the gradient where none is', async () => {
    await takeStep('inspect-file', context(unusable({ code: 'all-zero', file: '/work/project/zero.pt' })));
    await takeStep('inspect-file', context(unusable({ code: 'bad-network', file: 'engine' })));
    expect(host.commands).toEqual([
      ['gradleak.inspectFile', { fsPath: '/work/project/zero.pt' }],
      ['gradleak.inspectFile', { fsPath: FILES.gradients }],
    ]);
  });

  it('retry and what needs no files go on without an audit', async () => {
    await takeStep('retry', { again });
    await takeStep('open-log', { again });
    await takeStep('show-engines', { again });
    await takeStep('choose-checkpoint', { again });
    expect(done).toEqual(['again']);
    expect(host.commands).toEqual([['gradleak.showLog'], ['gradleak.showEngines']]);
  });
});
