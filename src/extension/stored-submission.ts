import { isAbsolute } from 'node:path';
import { queueAddressOf } from '../queue/address.js';

/** What the editor keeps of a submission, so that it is followed after a reload of the window. Holds nothing secret. */
export interface StoredSubmission {
  /** Of the server, without a login. */
  readonly address: string;
  /** A folder, or `s3://bucket/prefix`. */
  readonly store: string;
  /** Of the workspace that was submitted. */
  readonly folder: string;
  readonly manifest: string;
  /** Neither done nor left alone by the user. */
  readonly isFollowed: boolean;
  /** Its end was seen, or its jobs were cancelled. Absent where nobody knows. */
  readonly isOver?: boolean | undefined;
  /** When the report was finished whose place the results take, as the user was told who submitted. */
  readonly replaced?: string | undefined;
  /** When the report was finished that is made of these results. */
  readonly collected?: string | undefined;
}

/** Undefined for what is none, or of another version. */
export function submissionOf(value: unknown): StoredSubmission | undefined {
  const own = value as Partial<StoredSubmission> | null | undefined;
  const isWhole =
    typeof own?.address === 'string' &&
    queueAddressOf(own.address)?.address === own.address &&
    typeof own.store === 'string' &&
    typeof own.folder === 'string' &&
    typeof own.manifest === 'string' &&
    isAbsolute(own.manifest) &&
    typeof own.isFollowed === 'boolean' &&
    (own.isOver === undefined || typeof own.isOver === 'boolean') &&
    isTextOrAbsent(own.replaced) &&
    isTextOrAbsent(own.collected);
  return isWhole ? (own as StoredSubmission) : undefined;
}

function isTextOrAbsent(value: unknown): boolean {
  return value === undefined || typeof value === 'string';
}
