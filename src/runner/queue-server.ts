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
import { connect, isUnanswered, serverRisks, unanswered } from '../queue/connection.js';
import { Submission } from '../queue/follow.js';
import { DEFAULT_QUEUE, JobQueue } from '../queue/job-queue.js';
import { untilAborted } from '../queue/until-aborted.js';
import { storeAt } from '../remote/store-at.js';
import { collect } from '../shards/collect.js';
import { openManifest } from '../shards/manifest.js';
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
  connection.onRequest(QueueCheck, ({ place, store }, token) =>
    answered(() =>
      onServer({ place, token }, async ({ redis }) => {
        await inStore(store, tryToWrite);
        return { risks: await serverRisks(redis) };
      }),
    ),
  );
  connection.onRequest(QueueSubmit, (params, token) =>
    answered(() =>
      onServer({ place: params.place, token }, async ({ queue }) => {
        const manifest = await openManifest(params.manifest);
        await inStore(params.store, (store) => store.keepManifest(params.manifest));
        return queue.submit(manifest, { root: manifest.head.root, submitter: params.submitter }, (done) => {
          if (token.isCancellationRequested) {
            throw new CancelledError();
          }
          const of = manifest.head.jobs;
          void connection.sendNotification(QueueSubmittedNotification, { id: params.id, done, of });
        });
      }),
    ),
  );
  connection.onRequest(QueueLook, (params, token) =>
    answered(() => onSubmission(params, { token }, ({ submission }) => submission.look())),
  );
  connection.onRequest(QueueFollow, (params, token) =>
    answered(() =>
      // Waits for a server that is away, and tells so.
      onSubmission(params, { token, hasDeadline: false }, ({ submission, signal }) =>
        submission.follow((progress) => {
          void connection.sendNotification(QueueProgressNotification, { id: params.id, progress });
        }, signal),
      ),
    ),
  );
  connection.onRequest(QueueRetry, (params, token) =>
    answered(() => onSubmission(params, { token }, ({ queue, submission }) => queue.retryThese(submission.ids))),
  );
  connection.onRequest(QueueCancel, (params, token) =>
    answered(() =>
      onSubmission(params, { token }, ({ queue, submission }) => queue.cancelThese(submission.ids, params.submitter)),
    ),
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

interface Asking {
  readonly place: QueuePlace;
  readonly token: CancellationToken;
  readonly hasDeadline?: boolean;
}

interface Connected {
  readonly queue: JobQueue;
  readonly redis: Redis;
  readonly signal: AbortSignal;
}

/**
 * @throws UnusableInputError when there is no such server, it does not let this user in, or does not answer until a deadline
 * @throws CancelledError as soon as the token says so, whether the server answers or not
 */
async function onServer<T>(
  { place: { address, login }, token, hasDeadline = true }: Asking,
  work: (connected: Connected) => Promise<T>,
): Promise<T> {
  const signal = abortSignal(token);
  try {
    const redis = await connect(address, { login: login ?? undefined, hasDeadline, signal });
    const queue = new JobQueue(redis, DEFAULT_QUEUE);
    try {
      return await untilAborted(work({ queue, redis, signal }), signal);
    } finally {
      if (signal.aborted) {
        // What the work still asks for is refused, which ends it.
        redis.disconnect();
      }
      await queue.close();
      redis.disconnect();
    }
  } catch (error) {
    if (signal.aborted) {
      throw new CancelledError();
    }
    throw isUnanswered(error) ? unanswered(address) : error;
  }
}

interface Opened {
  readonly queue: JobQueue;
  readonly submission: Submission;
  readonly signal: AbortSignal;
}

function onSubmission<T>(
  { place, manifest, store }: QueueParams,
  asking: Omit<Asking, 'place'>,
  work: (opened: Opened) => Promise<T>,
): Promise<T> {
  return onServer({ place, ...asking }, async ({ queue, signal }) => {
    const opened = await openManifest(manifest);
    return inStore(store, async (own) => work({ queue, submission: await Submission.of(queue, opened, own), signal }));
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
