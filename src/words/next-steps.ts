import { type NextStep } from '../protocol/next-steps.js';
import { TRAINING_EXAMPLE } from './training-words.js';

/** How surfaces offer a next step: the editor by a button, the terminal by what to add to the command. */

/** Null where the editor has no such step. */
const STEP_BUTTONS: Readonly<Record<NextStep, string | null>> = {
  'choose-checkpoint': 'Choose another checkpoint',
  'choose-gradient': 'Choose another gradient',
  'choose-file': 'Choose another file',
  'swap-files': 'Swap and audit',
  'give-files': null,
  'without-checkpoint': 'Audit without a checkpoint',
  'choose-network': "Choose the network's file",
  'choose-input-shape': "Enter the input's shape",
  'choose-head': 'Choose the head',
  'choose-layout': "Choose the head's layout",
  'choose-batch-size': 'Enter the batch size',
  'state-training': 'State the training',
  'recovered-labels': 'Use recovered labels',
  'labels-only': 'Audit labels only',
  'give-truth': null,
  'inspect-file': 'Inspect the file',
  'show-engines': 'Show engines',
  'copy-capture-script': 'Copy the capture script',
  'choose-output': null,
  'replace-output': null,
  'enter-queue': "Enter the server's address",
  'enter-login': 'Enter user and password',
  'choose-store': 'Choose another store',
  'start-worker': "Copy the worker's command",
  'retry-jobs': 'Try them again',
  'show-results': 'Show results so far',
  trace: null,
  'open-settings': 'Open settings',
  retry: 'Retry',
  'open-log': 'Show log',
};

interface StepOption {
  readonly option: string;
  readonly meaning: string;
}

/** Null where the message itself says all that a terminal can. */
const STEP_OPTIONS: Readonly<Record<NextStep, StepOption | null>> = {
  'choose-checkpoint': { option: '--checkpoint C', meaning: 'the checkpoint that the gradient was computed with' },
  'choose-gradient': { option: '--gradients G', meaning: 'another gradient' },
  'choose-file': null,
  'swap-files': { option: '--checkpoint G --gradients C', meaning: 'the two files exchanged' },
  'give-files': { option: '--checkpoint C --gradients G', meaning: 'the two files' },
  'without-checkpoint': { option: '--gradients G', meaning: 'what leaks without a checkpoint' },
  'choose-network': { option: '--model FILE', meaning: 'the network: ONNX, Keras or a recipe' },
  'choose-input-shape': { option: '--input-shape CxHxW', meaning: 'the shape of one input' },
  'choose-head': { option: '--head NAME', meaning: 'the layer that classifies' },
  'choose-layout': { option: '--layout kxd|dxk', meaning: 'classes x features, or features x classes' },
  'choose-batch-size': { option: '--batch-size N', meaning: 'number of samples in the gradient' },
  'state-training': { option: '--training LINE', meaning: `how the client trained, such as ${TRAINING_EXAMPLE}` },
  'recovered-labels': { option: '--labels recovered', meaning: 'match with the labels that were recovered' },
  'labels-only': { option: '--attack none', meaning: 'labels and features only' },
  'give-truth': { option: '--truth FILE', meaning: 'the true labels' },
  'inspect-file': { option: 'gradleak inspect FILE', meaning: 'what is in the file' },
  'show-engines': { option: 'gradleak doctor', meaning: 'which engines work here' },
  'copy-capture-script': null,
  'choose-output': { option: '--out DIR', meaning: 'another folder to write to' },
  'replace-output': { option: '--force', meaning: 'replace what is there' },
  'enter-queue': { option: '--queue redis://HOST:6379', meaning: 'the server' },
  'enter-login': {
    option: 'GRADLEAK_QUEUE=redis://USER:PASSWORD@HOST:6379',
    meaning: 'the server and what logs in, in the environment: others on the machine can see options',
  },
  'choose-store': { option: '--out STORE', meaning: 'another store for the results' },
  'start-worker': { option: 'gradleak queue work --out STORE', meaning: 'on each machine that takes part' },
  'retry-jobs': { option: 'gradleak queue retry', meaning: 'what failed waits again' },
  'show-results': null,
  trace: { option: 'gradleak audit --trace FILE', meaning: 'what each method decided, without a tensor' },
  'open-settings': null,
  retry: null,
  'open-log': null,
};

/** One line for each step that the terminal has. */
export function stepsForTerminal(steps: readonly NextStep[]): string[] {
  const options = steps.map((step) => STEP_OPTIONS[step]).filter((own) => own !== null);
  const width = Math.max(0, ...options.map(({ option }) => option.length));
  return options.map(({ option, meaning }) => `  ${option.padEnd(width)}  ${meaning}`);
}

/** The steps that a button of the editor does, with its label. */
export function stepsForEditor(steps: readonly NextStep[]): { step: NextStep; label: string }[] {
  return steps.flatMap((step) => {
    const label = STEP_BUTTONS[step];
    return label === null ? [] : [{ step, label }];
  });
}

/** What a machine runs that takes part in a queue. @param store where the results of all come together */
export function workerCommand(store: string): string {
  return `gradleak queue work --out ${/^[\w./:@%+,-]+$/.test(store) ? store : `'${store.replaceAll("'", `'\\''`)}'`}`;
}
