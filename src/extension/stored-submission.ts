import { randomUUID } from 'node:crypto';
import { isAbsolute } from 'node:path';
import type * as vscode from 'vscode';
import { queueAddressOf } from '../queue/address.js';

/** What the editor keeps of a submission, so that it is followed after a reload of the window. Holds nothing secret. */
export interface StoredSubmission {
  /** Tells one submission from the next; absent in values of earlier versions. */
  readonly id?: string | undefined;
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
    isTextOrAbsent(own.id) &&
    isTextOrAbsent(own.replaced) &&
    isTextOrAbsent(own.collected);
  return isWhole ? (own as StoredSubmission) : undefined;
}

function isTextOrAbsent(value: unknown): boolean {
  return value === undefined || typeof value === 'string';
}

const KEY = 'gradleak.queue.submission';
const SUBMITTER_KEY = 'gradleak.queue.submitter';

/** The submission of one workspace, which outlives a reload of the window. */
export class SubmissionMemory {
  /** @param changed told of each change */
  constructor(
    private readonly memory: vscode.Memento,
    private readonly changed: () => void,
  ) {}

  /** What was submitted last. */
  known(): StoredSubmission | undefined {
    return submissionOf(this.memory.get(KEY));
  }

  async keep(submission: StoredSubmission): Promise<void> {
    await this.memory.update(KEY, submission);
    this.changed();
  }

  /** Changes what is kept of a submission, unless another one has taken its place since. */
  async change({ id }: StoredSubmission, changes: Partial<StoredSubmission>): Promise<void> {
    const kept = this.known();
    if (kept && kept.id === id) {
      await this.keep({ ...kept, ...changes });
    }
  }

  /** Who submits from this workspace, told apart from all others that do. */
  async submitter(): Promise<string> {
    const known = this.memory.get<unknown>(SUBMITTER_KEY);
    if (typeof known === 'string' && known !== '') {
      return known;
    }
    const own = randomUUID();
    await this.memory.update(SUBMITTER_KEY, own);
    return own;
  }
}
