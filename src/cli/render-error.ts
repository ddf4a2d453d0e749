import { sep } from 'node:path';
import { UnusableInputError, messageOf, nextSteps } from '../protocol/errors.js';
import { stepsForTerminal } from '../words/next-steps.js';

/**
 * What a failure says in a terminal: the sentence, then the options that go on from there.
 *
 * @param folder that paths are relative to, as those that the user types
 */
export function renderError(error: unknown, folder = process.cwd()): string {
  if (!(error instanceof UnusableInputError)) {
    const detail = error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
    return `gradleak: this is a defect of GradLeak, please report it.\n${detail}\n`;
  }
  const sentence = folder.endsWith(sep) ? error.message : error.message.replaceAll(`${folder}${sep}`, '');
  return `${[`gradleak: ${sentence}`, ...stepsForTerminal(nextSteps(error))].join('\n')}\n`;
}
