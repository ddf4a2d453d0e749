import { homedir } from 'node:os';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import type { NextStep } from '../protocol/next-steps.js';
import { RunnerCrashedError } from '../runner/client.js';
import { withoutLocalPaths } from '../words/local-paths.js';
import { stepsForEditor } from '../words/next-steps.js';
import { workspaceFolderPaths } from './workspace-folders.js';

/** What the editor says of a failure, and the buttons that go on from there. */

/** More of them do not fit into a notification. */
const MOST_BUTTONS = 3;

/** Paths as the workspace has them, base names of what lies outside. */
export function withShortPaths<T>(value: T): T {
  return withoutLocalPaths(value, workspaceFolderPaths(), homedir());
}

/** One or two short sentences for anything that was thrown. */
export function failureSentence(error: unknown): string {
  if (!(error instanceof UnusableInputError)) {
    const reason = messageOf(error).split('\n')[0] ?? '';
    return withShortPaths(error instanceof RunnerCrashedError ? error.message : `GradLeak failed: ${reason}`);
  }
  const { code, file, found, expected, advice } = error.parts;
  return withShortPaths(
    code === 'swapped-files'
      ? `The checkpoint and the gradient look swapped. ${file}: found ${found}.`
      : `${file}: found ${found}; expected ${expected}. ${advice}`,
  );
}

/**
 * Shows a sentence with the steps as buttons, and takes the one that is chosen.
 *
 * @param show one of `notifications.ts`
 * @param take does a step
 */
export async function offerSteps(
  show: (text: string, ...actions: string[]) => Thenable<string | undefined>,
  text: string,
  steps: readonly NextStep[],
  take: (step: NextStep) => Promise<void>,
): Promise<void> {
  const buttons = stepsForEditor(steps);
  // The log is what is left where nothing else helps, so it keeps its place.
  const log = buttons.filter(({ step }) => step === 'open-log');
  const others = buttons.filter(({ step }) => step !== 'open-log').slice(0, MOST_BUTTONS - log.length);
  const shown = [...others, ...log];
  const answer = await show(text, ...shown.map(({ label }) => label));
  const chosen = shown.find(({ label }) => label === answer);
  if (chosen) {
    await take(chosen.step);
  }
}
