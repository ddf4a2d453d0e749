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
  | 'would-overwrite';

export interface UnusableInputParts {
  code: UnusableInputCode;
  /** Path of the file at fault, or a name that the user gave. */
  file: string;
  found: string;
  expected: string;
  advice: string;
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
  constructor() {
    super('Cancelled.');
    this.name = 'CancelledError';
  }
}

/** The sentence to show for anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
