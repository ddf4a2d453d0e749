/** What is asked of the thread that talks to an object store; nothing else does. */

/** Where a bucket is, besides what the environment says (AWS_REGION, AWS_ENDPOINT_URL_S3, credentials). */
export interface Place {
  readonly bucket: string;
  /** Empty, or ending in a slash. */
  readonly prefix: string;
}

export interface StoredObject {
  readonly key: string;
  readonly bytes: number;
  /** Milliseconds since 1970. */
  readonly changed: number;
  /** What the store itself says of the contents: another one is another object. */
  readonly etag: string;
}

export type Request =
  | { readonly op: 'list'; readonly place: Place; readonly isDeep: boolean; readonly after: string | undefined }
  | { readonly op: 'head'; readonly bucket: string; readonly key: string }
  | { readonly op: 'get'; readonly bucket: string; readonly key: string; readonly most: number }
  | {
      readonly op: 'put';
      readonly bucket: string;
      readonly key: string;
      readonly bytes: Uint8Array;
      /** Leaves what is there. */
      readonly isNew: boolean;
    }
  | { readonly op: 'delete'; readonly bucket: string; readonly key: string }
  | { readonly op: 'traffic' };

export interface Answers {
  /** A page: `next` is undefined at the end. */
  readonly list: { readonly objects: StoredObject[]; readonly next: string | undefined };
  /** Null where there is no such object. */
  readonly head: StoredObject | null;
  readonly get: Uint8Array | null;
  /** False where it was there. */
  readonly put: boolean;
  readonly delete: null;
  /** Bytes of objects that came in since the thread began, and requests. */
  readonly traffic: { readonly bytes: number; readonly requests: number };
}

/** Answered by a message. */
export interface Asked {
  readonly id: number;
  readonly request: Request;
}

export type Answered =
  { readonly id: number; readonly answer: Answers[keyof Answers] } | { readonly id: number; readonly problem: string };

/** Answered in shared memory, by whom a thread waits for. */
export interface AskedInMemory {
  readonly range: {
    readonly bucket: string;
    readonly key: string;
    readonly etag: string;
    readonly start: number;
    readonly length: number;
  };
  /** [state, length]: state 0 until answered, then 1 with the bytes, 2 with the words of a problem, 3 where it was changed. */
  readonly control: SharedArrayBuffer;
  /** As long as the range, or as the words of a problem. */
  readonly data: SharedArrayBuffer;
}

export const STATE = { waiting: 0, done: 1, failed: 2, changed: 3 } as const;
