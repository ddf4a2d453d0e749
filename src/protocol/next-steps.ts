/**
 * What can be done about a failure, or to find out more. An error and a report carry these; each surface offers them in its
 * own way, by `words/next-steps.ts`.
 */
export const NEXT_STEPS = [
  'choose-checkpoint',
  'choose-gradient',
  /** Another file in place of the one at fault, whichever that is. */
  'choose-file',
  'swap-files',
  'give-files',
  'without-checkpoint',
  'choose-network',
  'choose-input-shape',
  'choose-head',
  'choose-layout',
  'choose-batch-size',
  'state-training',
  'recovered-labels',
  'labels-only',
  'give-truth',
  'inspect-file',
  'show-engines',
  'copy-capture-script',
  'choose-output',
  'replace-output',
  'enter-queue',
  'enter-login',
  'choose-store',
  'start-worker',
  'retry-jobs',
  'show-results',
  'trace',
  'open-settings',
  'retry',
  'open-log',
] as const;

export type NextStep = (typeof NEXT_STEPS)[number];
