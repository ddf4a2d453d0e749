import * as vscode from 'vscode';
import type { QueueProgress } from '../protocol/queue-messages.js';
import { counted } from '../words/count-words.js';
import { queueInWords } from '../words/queue-words.js';
import { visibleInList } from '../words/visible.js';
import { withShortPaths } from './failures.js';
import { pickOne } from './questions.js';

/** Where the jobs of a submission are, in a list to choose from what can be done. */

export interface QueueWays {
  /** Absent while an audit of the workspace runs. */
  readonly follow?: () => Promise<void>;
  readonly collect?: () => Promise<void>;
  readonly retry: () => Promise<void>;
  readonly cancel: () => Promise<void>;
  readonly copyCommand: () => Promise<void>;
  /** A sentence on what comes of collecting. */
  readonly ofCollecting: string | undefined;
}

type QueueItem = vscode.QuickPickItem & { readonly take: () => Promise<void> };

/** Jobs that may still come to a result. */
export function openOf({ waiting, running, delayed }: QueueProgress): number {
  return waiting + running + delayed;
}

/** Shows them, and does what is chosen. */
export async function chooseFromQueue(address: string, progress: QueueProgress, ways: QueueWays): Promise<void> {
  const { jobs, done, workers } = progress;
  const rest = queueInWords(progress);
  const chosen = await pickOne<QueueItem | vscode.QuickPickItem>(
    [...actionsOf(progress, ways), ...failuresOf(progress)],
    {
      title: `${address}: ${done} of ${jobs} done${rest === '' ? '' : `, ${rest}`}`,
      placeHolder:
        workers === null ? 'The server does not tell its workers' : `${counted(workers, 'worker')} connected`,
      matchOnDetail: true,
    },
  );
  if (chosen && 'take' in chosen) {
    await chosen.take();
  }
}

function actionsOf(progress: QueueProgress, ways: QueueWays): QueueItem[] {
  const { follow, collect, retry, cancel, copyCommand, ofCollecting } = ways;
  const isOpen = openOf(progress) > 0;
  return [
    ...(isOpen && follow ? [{ label: '$(eye) Follow', take: follow }] : []),
    ...(progress.done > 0 && collect
      ? [
          {
            label: '$(graph) Show results so far',
            take: collect,
            ...(ofCollecting === undefined ? {} : { detail: ofCollecting }),
          },
        ]
      : []),
    ...(progress.failed > 0 ? [{ label: '$(refresh) Try failed jobs again', take: retry }] : []),
    ...(isOpen ? [{ label: '$(debug-stop) Cancel jobs...', take: cancel }] : []),
    { label: "$(copy) Copy the worker's command", take: copyCommand },
  ];
}

function failuresOf({ failed, dead }: QueueProgress): vscode.QuickPickItem[] {
  if (dead.length === 0) {
    return [];
  }
  return [
    {
      label: `failed${failed > dead.length ? `, the first ${dead.length} of ${failed}` : ''}`,
      kind: vscode.QuickPickItemKind.Separator,
    },
    ...dead.map(({ gradients, reason }) => ({
      label: `$(error) ${visibleInList(gradients)}`,
      detail: visibleInList(withShortPaths(reason)),
    })),
  ];
}
