import type { QueueCancelled, QueueProgress } from '../protocol/queue-messages.js';
import { counted } from './count-words.js';

/** What is said of jobs in a queue. */

/** Where those are that are not done: "3 waiting, 1 running"; empty where all are. */
export function queueInWords({ waiting, running, delayed, failed, missing, isAway }: QueueProgress): string {
  const parts = [
    waiting > 0 ? `${waiting} waiting` : '',
    running > 0 ? `${running} running` : '',
    delayed > 0 ? `${delayed} to be tried again` : '',
    failed > 0 ? `${failed} failed` : '',
    missing > 0 ? `${missing} in the queue no more, without a result` : '',
    isAway ? 'the server does not answer' : '',
  ];
  return parts.filter((part) => part !== '').join(', ');
}

/**
 * What came of all jobs, in sentences, with the reason of the first that failed.
 *
 * @param store where results come to
 */
export function queueEndInWords(progress: QueueProgress, store: string): string {
  const { jobs, done, failed, missing, dead } = progress;
  const [first] = dead;
  // Most reasons begin with the file.
  const name = first && !first.reason.includes(first.gradients) ? first.gradients : undefined;
  const which = failed > 1 ? `, the first${name === undefined ? '' : ` being ${name}`}` : name && ` (${name})`;
  return [
    `${done} of ${counted(jobs, 'job')} of the queue ${done === 1 ? 'is' : 'are'} done.`,
    failed > 0 && first ? `${failed} failed${which ?? ''}: ${withStop(first.reason)}` : '',
    missing > 0
      ? `${missing} ${missing === 1 ? 'is' : 'are'} in the queue no more and ${missing === 1 ? 'has' : 'have'} no result in ${store}: cancelled, or done by a worker that writes to another store.`
      : '',
  ]
    .filter((part) => part !== '')
    .join(' ');
}

/**
 * What became of jobs that were cancelled.
 *
 * @param progress where all jobs are since; undefined where that is not known
 * @param store where results are
 */
export function queueCancelInWords(
  { removed, stopped, shared }: QueueCancelled,
  progress: QueueProgress | undefined,
  store: string,
): string {
  const parts = [
    `${counted(removed, 'job')} removed from the queue`,
    stopped > 0 ? `${stopped} asked to stop` : '',
    shared > 0 ? `${shared} left, as ${shared === 1 ? 'it was' : 'they were'} submitted from elsewhere too` : '',
  ];
  const results = progress
    ? ` ${progress.done} of ${progress.jobs} ${progress.done === 1 ? 'has a result' : 'have results'}, which stay in ${store}.`
    : ` Results stay in ${store}.`;
  return `${parts.filter((part) => part !== '').join(', ')}.${results}`;
}

function withStop(sentence: string): string {
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}
