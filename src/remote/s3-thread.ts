import { parentPort } from 'node:worker_threads';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3';
import { messageOf } from '../protocol/errors.js';
import { type Answered, type Answers, type Asked, type AskedInMemory, type Request, STATE } from './requests.js';

/**
 * The thread that talks to an S3-compatible store. Address, region and credentials come from the standard chain of the SDK. A thread of
 * its own, as readers of tensor files wait for bytes without letting others run.
 */

// Pinned to a version that runs on every Node that this does: what later ones need is nothing to tell users.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';

const client = new S3Client({
  // Stores that are not Amazon's have buckets in paths, and do not know of its newer checksums.
  forcePathStyle: process.env.AWS_ENDPOINT_URL !== undefined || process.env.AWS_ENDPOINT_URL_S3 !== undefined,
  requestChecksumCalculation: 'WHEN_REQUIRED',
  responseChecksumValidation: 'WHEN_REQUIRED',
  region: process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION ?? 'us-east-1',
});
const traffic = { bytes: 0, requests: 0 };
const port = parentPort;

port?.on('message', (asked: Asked | AskedInMemory) => {
  if ('range' in asked) {
    void answerInMemory(asked);
    return;
  }
  const { id, request } = asked;
  answer(request).then(
    (own) => {
      const message: Answered = { id, answer: own };
      port.postMessage(message);
    },
    (error: unknown) => {
      const message: Answered = { id, problem: inWords(error) };
      port.postMessage(message);
    },
  );
});

async function answer(request: Request): Promise<Answers[keyof Answers]> {
  traffic.requests++;
  switch (request.op) {
    case 'list': {
      const { place, isDeep, after } = request;
      const { Contents = [], NextContinuationToken } = await client.send(
        new ListObjectsV2Command({
          Bucket: place.bucket,
          Prefix: place.prefix,
          ...(isDeep ? {} : { Delimiter: '/' }),
          ...(after === undefined ? {} : { ContinuationToken: after }),
        }),
      );
      const objects = Contents.map(({ Key = '', Size = 0, LastModified, ETag = '' }) => ({
        key: Key,
        bytes: Size,
        changed: LastModified?.getTime() ?? 0,
        etag: ETag,
      }));
      return { objects, next: NextContinuationToken };
    }
    case 'head':
      return orNull(async () => {
        const { bucket, key } = request;
        const own = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: key }));
        return { key, bytes: own.ContentLength ?? 0, changed: own.LastModified?.getTime() ?? 0, etag: own.ETag ?? '' };
      });
    case 'get':
      return orNull(async () => {
        const { bucket, key, most } = request;
        const own = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
        if ((own.ContentLength ?? Infinity) > most) {
          throw new Error(`an object of more than ${most} bytes`);
        }
        const bytes = (await own.Body?.transformToByteArray()) ?? new Uint8Array();
        traffic.bytes += bytes.length;
        return bytes;
      });
    case 'put': {
      const { bucket, key, bytes, isNew } = request;
      try {
        await client.send(
          new PutObjectCommand({ Bucket: bucket, Key: key, Body: bytes, ...(isNew ? { IfNoneMatch: '*' } : {}) }),
        );
        return true;
      } catch (error) {
        if (isNew && statusOf(error) === 412) {
          return false;
        }
        throw error;
      }
    }
    case 'delete':
      await client.send(new DeleteObjectCommand({ Bucket: request.bucket, Key: request.key }));
      return null;
    case 'traffic':
      return { ...traffic };
  }
}

async function answerInMemory({ range, control, data }: AskedInMemory): Promise<void> {
  const state = new Int32Array(control);
  const end = (own: number, bytes: Uint8Array): void => {
    const fitting = bytes.subarray(0, data.byteLength);
    new Uint8Array(data).set(fitting);
    Atomics.store(state, 1, fitting.length);
    Atomics.store(state, 0, own);
    Atomics.notify(state, 0);
  };
  const { bucket, key, etag, start, length } = range;
  traffic.requests++;
  try {
    const own = await client.send(
      new GetObjectCommand({
        Bucket: bucket,
        Key: key,
        Range: `bytes=${start}-${start + length - 1}`,
        IfMatch: etag,
      }),
    );
    if (own.ETag !== etag) {
      // A store that does not know of the condition.
      end(STATE.changed, new Uint8Array());
      return;
    }
    const bytes = (await own.Body?.transformToByteArray()) ?? new Uint8Array();
    traffic.bytes += bytes.length;
    end(STATE.done, bytes);
  } catch (error) {
    end(statusOf(error) === 412 ? STATE.changed : STATE.failed, new TextEncoder().encode(inWords(error)));
  }
}

async function orNull<T>(work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (statusOf(error) === 404) {
      return null;
    }
    throw error;
  }
}

function statusOf(error: unknown): number | undefined {
  return error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
}

function inWords(error: unknown): string {
  const name = error instanceof Error && error.name !== 'Error' ? `${error.name}: ` : '';
  return `${name}${messageOf(error) || 'no reason'}`;
}
