import type { NextStep } from './next-steps.js';

/**
 * Failures that are told to a person. Anything else that is thrown is a defect of ours.
 *
 * A message has four parts because a reader needs all four: which file, what was found in it, what
 * was expected there, and what to do next.
 */

/** Stable codes of unusable inputs; documentation and tests refer to them, so they are never renamed. */
export type UnusableInputCode =
  | 'missing-file'
  | 'unreadable-file'
  | 'not-a-tensor-file'
  | 'truncated-file'
  | 'changed-file'
  | 'zip-bomb'
  | 'size-lie'
  | 'malformed-file'
  | 'took-too-long'
  | 'pickle-limit'
  | 'unsupported-tensor'
  | 'tensor-too-large'
  | 'too-little-memory'
  | 'same-file'
  | 'swapped-files'
  | 'not-a-gradient'
  | 'no-match'
  | 'ambiguous-match'
  | 'shape-mismatch'
  | 'no-head'
  | 'several-heads'
  | 'single-class'
  | 'not-finite'
  | 'all-zero'
  | 'other-checkpoint'
  | 'bad-network'
  | 'unsupported-operation'
  | 'unsupported-dump'
  | 'no-engine'
  | 'bad-arguments'
  | 'no-server'
  | 'login-refused'
  | 'would-overwrite';

export interface UnusableInputParts {
  code: UnusableInputCode;
  /** Path of the file at fault, or a name that the user gave. */
  file: string;
  found: string;
  expected: string;
  /** One sentence; names no option and no button, which `next` is for. */
  advice: string;
  /** What can be done, most useful first; by the code when absent. */
  next?: NextStep[];
  /** Names of layers to choose the head among. */
  choices?: string[];
}

const STEPS_AFTER: Readonly<Record<UnusableInputCode, readonly NextStep[]>> = {
  'missing-file': ['choose-file'],
  'unreadable-file': ['choose-file', 'retry'],
  'not-a-tensor-file': ['choose-file'],
  'truncated-file': ['choose-file', 'retry'],
  'changed-file': ['retry'],
  'zip-bomb': ['choose-file'],
  'size-lie': ['choose-file'],
  'malformed-file': ['choose-file'],
  'took-too-long': ['choose-file', 'inspect-file'],
  'pickle-limit': ['choose-file'],
  'unsupported-tensor': ['choose-head', 'inspect-file'],
  'tensor-too-large': ['choose-head', 'inspect-file'],
  'too-little-memory': ['retry'],
  'same-file': ['choose-gradient', 'choose-checkpoint'],
  'swapped-files': ['swap-files'],
  'not-a-gradient': ['choose-gradient', 'inspect-file'],
  'no-match': ['choose-checkpoint', 'inspect-file'],
  'ambiguous-match': ['copy-capture-script', 'inspect-file'],
  'shape-mismatch': ['choose-checkpoint'],
  'no-head': ['choose-head'],
  'several-heads': ['choose-head'],
  'single-class': ['choose-head', 'choose-layout'],
  'not-finite': ['choose-gradient', 'inspect-file'],
  'all-zero': ['choose-gradient', 'inspect-file'],
  'other-checkpoint': ['choose-checkpoint'],
  'bad-network': ['choose-network', 'labels-only'],
  'unsupported-operation': ['choose-network', 'labels-only'],
  'unsupported-dump': ['trace'],
  'no-engine': ['show-engines', 'labels-only'],
  'bad-arguments': ['open-settings'],
  'no-server': ['enter-queue', 'retry'],
  'login-refused': ['enter-login', 'retry'],
  'would-overwrite': ['choose-output', 'replace-output'],
};

/** What can be done about anything that was thrown, most useful first. */
export function nextSteps(error: unknown): readonly NextStep[] {
  return error instanceof UnusableInputError ? (error.parts.next ?? STEPS_AFTER[error.code]) : ['retry'];
}

/** The user's input cannot be used; the message says why and what to do. Exit code 2. */
export class UnusableInputError extends Error {
  readonly code: UnusableInputCode;
  readonly parts: UnusableInputParts;

  constructor(parts: UnusableInputParts) {
    super(`${parts.file}: found ${parts.found}; expected ${parts.expected}. ${parts.advice}`);
    this.name = 'UnusableInputError';
    this.code = parts.code;
    this.parts = parts;
  }
}

/** The user asked to stop. Not an error: never reported as one. Exit code 130. */
export class CancelledError extends Error {
  /** @param isKept whether what was found until then is there */
  constructor(isKept = false) {
    super(isKept ? 'Stopped. What was found until then is kept.' : 'Stopped.');
    this.name = 'CancelledError';
  }
}

/** The sentence to show for anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
