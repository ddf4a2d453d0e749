import type { CancellationToken, MessageConnection } from 'vscode-jsonrpc';
import type { Redis } from 'ioredis';
import { CancelledError, UnusableInputError } from '../protocol/errors.js';
import {
  QueueCancel,
  QueueCheck,
  QueueCollect,
  QueueFollow,
  QueueLook,
  type QueueParams,
  type QueuePlace,
  QueueProgressNotification,
  QueueRetry,
  QueueSubmit,
  QueueSubmittedNotification,
} from '../protocol/queue-messages.js';
import { HelloRequest, PROTOCOL_VERSION } from '../protocol/runner-messages.js';
import { TOOL_VERSION } from '../audit/version.js';
import { connect, serverRisks } from '../queue/connection.js';
import { Submission } from '../queue/follow.js';
import { DEFAULT_QUEUE, JobQueue } from '../queue/job-queue.js';
import { storeAt } from '../remote/store-at.js';
import { collect } from '../shards/collect.js';
import { type Manifest, openManifest } from '../shards/manifest.js';
import type { ResultStore } from '../shards/result-store.js';
import { answered, pausing } from './answers.js';

/** Answers requests on a connection until it closes. */
export function serveQueue(connection: MessageConnection): void {
  connection.onRequest(HelloRequest, () => ({
    protocolVersion: PROTOCOL_VERSION,
    toolVersion: TOOL_VERSION,
    node: process.version,
    pid: process.pid,
  }));
  connection.onRequest(QueueCheck, ({ place, store }) =>
    answered(() =>
      onServer(place, async (_queue, redis) => {
        await inStore(store, tryToWrite);
        return { risks: await serverRisks(redis) };
      }),
    ),
  );
  connection.onRequest(QueueSubmit, (params, token) =>
    answered(() =>
      onServer(params.place, async (queue) => {
        const manifest = await openManifest(params.manifest);
        await inStore(params.store, (store) => store.keepManifest(params.manifest));
        return queue.submit(manifest, manifest.head.root, (done) => {
          if (token.isCancellationRequested) {
            throw new CancelledError();
          }
          const of = manifest.head.jobs;
          void connection.sendNotification(QueueSubmittedNotification, { id: params.id, done, of });
        });
      }),
    ),
  );
  connection.onRequest(QueueLook, (params) =>
    answered(() => onSubmission(params, ({ submission }) => submission.look())),
  );
  connection.onRequest(QueueFollow, (params, token) =>
    answered(() =>
      onSubmission(params, async ({ submission }) => {
        const stop = abortSignal(token);
        try {
          return await submission.follow((progress) => {
            void connection.sendNotification(QueueProgressNotification, { id: params.id, progress });
          }, stop);
        } catch (error) {
          throw stop.aborted ? new CancelledError() : error;
        }
      }),
    ),
  );
  connection.onRequest(QueueRetry, (params) =>
    answered(() => onSubmission(params, ({ queue, submission }) => queue.retryThese(submission.ids))),
  );
  connection.onRequest(QueueCancel, (params) =>
    answered(() => onSubmission(params, ({ queue, submission }) => queue.cancelThese(submission.ids))),
  );
  connection.onRequest(QueueCollect, ({ manifest, store, out }, token) =>
    answered(async () => {
      const opened = await openManifest(manifest);
      await inStore(store, (own) => collect(opened, own, out, pausing(token)));
      return null;
    }),
  );
  connection.listen();
}

/** @throws UnusableInputError when there is no such server, or it does not let this user in */
async function onServer<T>(
  { address, login }: QueuePlace,
  work: (queue: JobQueue, redis: Redis) => Promise<T>,
): Promise<T> {
  const redis = await connect(address, login ?? undefined);
  const queue = new JobQueue(redis, DEFAULT_QUEUE);
  try {
    return await work(queue, redis);
  } finally {
    await queue.close();
    redis.disconnect();
  }
}

interface Opened {
  readonly queue: JobQueue;
  readonly manifest: Manifest;
  readonly submission: Submission;
}

function onSubmission<T>({ place, manifest, store }: QueueParams, work: (opened: Opened) => Promise<T>): Promise<T> {
  return onServer(place, async (queue) => {
    const opened = await openManifest(manifest);
    return inStore(store, async (own) =>
      work({ queue, manifest: opened, submission: await Submission.of(queue, opened, own) }),
    );
  });
}

/** @throws UnusableInputError that offers another store where this one is not usable */
async function inStore<T>(place: string, work: (store: ResultStore) => Promise<T>): Promise<T> {
  try {
    const { store, close } = storeAt(place);
    try {
      return await work(store);
    } finally {
      close();
    }
  } catch (error) {
    throw error instanceof UnusableInputError && OF_PLACES.has(error.code)
      ? new UnusableInputError({ ...error.parts, next: ['choose-store', 'retry'] })
      : error;
  }
}

/** What says that a place cannot be written to or read. */
const OF_PLACES: ReadonlySet<string> = new Set([
  'unreadable-file',
  'missing-file',
  'would-overwrite',
  'bad-arguments',
] satisfies UnusableInputError['code'][]);

async function tryToWrite(store: ResultStore): Promise<void> {
  await store.discard(await store.begin());
  // An object store is asked for the first time here.
  await store.has('0'.repeat(20));
}

function abortSignal(token: CancellationToken): AbortSignal {
  const stop = new AbortController();
  token.onCancellationRequested(() => {
    stop.abort();
  });
  if (token.isCancellationRequested) {
    stop.abort();
  }
  return stop.signal;
}
