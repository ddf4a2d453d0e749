import { isAbsolute } from 'node:path';
import * as vscode from 'vscode';
import { sizesOf } from '../cli/reconstruction-options.js';
import { LAYOUTS, type Layout } from '../protocol/audit-request.js';
import { UnusableInputError, messageOf, nextSteps } from '../protocol/errors.js';
import type { NextStep } from '../protocol/next-steps.js';
import { TRAINING_EXAMPLE, trainingOf } from '../words/training-words.js';
import { visibleInList } from '../words/visible.js';
import { COMMANDS } from './ids.js';
import type { AuditSettings, Given } from './launch-audit.js';
import { askForText, pickOne } from './questions.js';

/** What the buttons on a failure or a report do. */

/** The files of an audit, and how it is done: as the user's settings say where nothing else is said. */
export interface AuditFiles {
  /** Undefined for the gradient alone. */
  readonly checkpoint: string | undefined;
  readonly gradients: string;
  /** Of an audit that is done once more; the user's when undefined. */
  readonly settings?: AuditSettings | undefined;
  /** What was chosen for this audit, over the settings. */
  readonly given?: Given;
}

/** How audits are started, and their files chosen. */
export interface AuditWays {
  run(files: AuditFiles): Promise<void>;
  /** Asks for what is not known of the files. */
  start(gradients: string): Promise<void>;
  /** Undefined when nothing was chosen, and an undefined checkpoint for the gradient alone. */
  chooseCheckpoint(gradients: string): Promise<{ readonly checkpoint: string | undefined } | undefined>;
  chooseGradient(checkpoint: string | undefined): Promise<string | undefined>;
  /** The next audit of this gradient's folder offers the checkpoint first. */
  remember(checkpoint: string, gradients: string): Promise<void>;
}

/** Steps of what is done through a queue. */
const QUEUE_STEPS: readonly NextStep[] = [
  'enter-queue',
  'enter-login',
  'choose-store',
  'start-worker',
  'retry-jobs',
  'show-results',
];

export interface QueueWays {
  /** Does one of the steps of queues. @returns whether what failed can be tried again */
  take(step: NextStep): Promise<boolean>;
}

/** Where a step goes on from. */
export interface StepContext {
  /** Undefined where an audit ended with a report. */
  readonly error?: unknown;
  readonly again: () => Promise<void>;
  /** Absent for a failure of something else than an audit. */
  readonly audit?: { readonly files: AuditFiles; readonly ways: AuditWays };
  /** Present for what is done through a queue. */
  readonly queue?: QueueWays;
}

const NEED_NO_FILES: readonly NextStep[] = [
  'show-engines',
  'copy-capture-script',
  'open-settings',
  'retry',
  'open-log',
];

/** The steps that can be taken from here, ending with the log. */
export function stepsFrom({ audit, queue, error }: StepContext): NextStep[] {
  const file = error instanceof UnusableInputError ? error.parts.file : undefined;
  const steps = nextSteps(error).flatMap((step) => (step === 'choose-file' ? roleOf(file, audit?.files) : [step]));
  const isOffered = (step: NextStep): boolean =>
    QUEUE_STEPS.includes(step) ? queue !== undefined : audit !== undefined || NEED_NO_FILES.includes(step);
  return [...steps.filter(isOffered), 'open-log'];
}

/** Which choice replaces a file; none for one that was found beside the others. */
function roleOf(file: string | undefined, files: AuditFiles | undefined): NextStep[] {
  switch (file) {
    case undefined:
      return [];
    case files?.gradients:
      return ['choose-gradient'];
    case files?.checkpoint:
      return ['choose-checkpoint'];
    default:
      return ['retry'];
  }
}

/** Does a step; one that asks for something first ends when nothing is given. */
export async function takeStep(step: NextStep, context: StepContext): Promise<void> {
  const { error, again, audit, queue } = context;
  const command = COMMAND_OF[step];
  if (command !== undefined) {
    await vscode.commands.executeCommand(...command);
  } else if (step === 'retry') {
    await again();
  } else if (queue && QUEUE_STEPS.includes(step)) {
    if (await queue.take(step)) {
      await again();
    }
  } else if (step === 'inspect-file') {
    await vscode.commands.executeCommand(COMMANDS.inspectFile, vscode.Uri.file(fileOf(context)));
  } else if (audit) {
    const { files, ways } = audit;
    const next = await (FILES_OF[step]?.(files, ways) ?? givenOf(step, files, error));
    if (next) {
      await ways.run(next);
    }
  }
}

const COMMAND_OF: Partial<Record<NextStep, [command: string, ...args: unknown[]]>> = {
  'open-log': [COMMANDS.showLog],
  'show-engines': [COMMANDS.showEngines],
  'copy-capture-script': [COMMANDS.copyCaptureScript],
  'open-settings': ['workbench.action.openSettings', 'gradleak'],
};

/** The file at fault where it is one, else the gradient. */
function fileOf({ audit, error }: StepContext): string {
  const file = error instanceof UnusableInputError ? error.parts.file : '';
  return isAbsolute(file) ? file : (audit?.files.gradients ?? file);
}

type Choice = (files: AuditFiles, ways: AuditWays) => Promise<AuditFiles | undefined>;

/** Steps that audit other files. */
const FILES_OF: Partial<Record<NextStep, Choice>> = {
  'choose-checkpoint': async (files, ways) => {
    const chosen = await ways.chooseCheckpoint(files.gradients);
    return chosen && { ...files, ...chosen };
  },
  'choose-gradient': async (files, ways) => {
    const gradients = await ways.chooseGradient(files.checkpoint);
    if (gradients !== undefined && files.checkpoint === undefined) {
      await ways.start(gradients);
      return undefined;
    }
    return gradients === undefined ? undefined : { ...files, gradients };
  },
  'swap-files': async (files, ways) => {
    const { checkpoint, gradients } = files;
    if (checkpoint === undefined) {
      return undefined;
    }
    await ways.remember(gradients, checkpoint);
    return { ...files, checkpoint: gradients, gradients: checkpoint };
  },
  'without-checkpoint': (files) => Promise.resolve({ ...files, checkpoint: undefined }),
};

/** Steps that audit the same files with something that was chosen. */
async function givenOf(step: NextStep, files: AuditFiles, error: unknown): Promise<AuditFiles | undefined> {
  const own = await CHOICES[step]?.(error);
  return own && { ...files, given: { ...files.given, ...own } };
}

const CHOICES: Partial<Record<NextStep, (error: unknown) => Promise<Given | undefined>>> = {
  'choose-network': async () => {
    const [file] =
      (await vscode.window.showOpenDialog({
        title: 'Choose the file of the network: ONNX, Keras or a recipe',
        filters: { Networks: ['onnx', 'keras', 'h5', 'json'] },
      })) ?? [];
    return file && { model: file.fsPath };
  },
  'choose-input-shape': async () => {
    const given = await ask('Shape of one input', 'Channels x height x width, such as 3x32x32', (text) =>
      sizesOf(text),
    );
    return given === undefined ? undefined : { inputShape: sizesOf(given) };
  },
  'choose-batch-size': async () => {
    const given = await ask('Number of samples in the gradient', 'A whole number, such as 1', batchSizeOf);
    return given === undefined ? undefined : { batchSize: batchSizeOf(given) };
  },
  'state-training': async () => {
    const given = await ask('How did the client train?', `As in ${TRAINING_EXAMPLE}`, trainingOf);
    return given === undefined ? undefined : { training: trainingOf(given) };
  },
  'choose-head': async (error) => {
    const names = error instanceof UnusableInputError ? (error.parts.choices ?? []) : [];
    const head =
      names.length > 0
        ? (
            await pickOne(
              names.map((name) => ({ label: visibleInList(name), name })),
              { title: 'Which layer classifies?' },
            )
          )?.name
        : await askForText({
            title: 'Which layer classifies?',
            prompt: 'Name of its weight, such as fc',
          });
    return head === undefined || head === '' ? undefined : { head };
  },
  'choose-layout': async () => {
    const items = LAYOUTS.map((layout) => ({ label: LAYOUT_WORDS[layout], layout }));
    const picked = await pickOne(items, { title: "How is the head's weight stored?" });
    return picked && { layout: picked.layout };
  },
  'labels-only': () => Promise.resolve({ attack: 'none' }),
  'recovered-labels': () => Promise.resolve({ labels: 'recovered' }),
};

const LAYOUT_WORDS: Readonly<Record<Layout, string>> = {
  kxd: 'Classes x features, as in PyTorch',
  dxk: 'Features x classes, as in Keras and Flax',
};

function batchSizeOf(text: string): number {
  const size = Number(text);
  if (text.trim() === '' || !Number.isInteger(size) || size < 1) {
    throw new Error('A whole number of at least 1.');
  }
  return size;
}

/** @param parse throws for what is not such a value */
async function ask(title: string, prompt: string, parse: (text: string) => unknown): Promise<string | undefined> {
  return askForText({
    title,
    prompt,
    validateInput: (text) => {
      try {
        parse(text);
        return undefined;
      } catch (error) {
        return error instanceof UnusableInputError ? `Expected ${error.parts.expected}.` : messageOf(error);
      }
    },
  });
}
