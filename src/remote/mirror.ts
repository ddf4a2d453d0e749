import { createHash } from 'node:crypto';
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import type { Place, StoredObject } from './requests.js';
import { within } from './address.js';
import type { S3Client } from './s3-client.js';

/**
 * A folder that looks like a prefix of an object store: files of the right names, sizes and times that hold nothing, which
 * `remote-files.ts` reads from the store. So all that walks folders works as it is.
 */

/** In each folder of a mirror: where its files really are. */
export const LIST_FILE = '.gradleak-remote.json';

export interface MirroredFolder {
  readonly bucket: string;
  readonly files: Readonly<Record<string, Pick<StoredObject, 'key' | 'bytes' | 'etag'>>>;
}

/** Objects in the folder of one dump: its files, and what lies beside them. */
const MOST_OF_ONE_DUMP = 12;

/** Where the fetched blocks of an object are. @param root of all mirrors */
export function blocksFile(root: string, { key, etag, bytes }: Pick<StoredObject, 'key' | 'bytes' | 'etag'>): string {
  const name = createHash('sha256')
    .update(JSON.stringify([key, etag, bytes]))
    .digest('hex')
    .slice(0, 32);
  return join(root, 'blocks', name);
}

/** Names that a file system may not have, or that lead elsewhere, are left out. */
function isPlain(name: string): boolean {
  return (
    name !== '' && name !== '.' && name !== '..' && name !== LIST_FILE && !/[\\\0:]/.test(name) && name.length < 256
  );
}

/**
 * Everything below a prefix.
 *
 * @param pause called between pages; may throw to stop
 */
export async function mirrorAll(
  client: S3Client,
  place: Place,
  root: string,
  pause: () => Promise<void>,
): Promise<void> {
  const folders = new Map<string, StoredObject[]>();
  for await (const page of client.list(place, true)) {
    await pause();
    for (const object of page) {
      const parts = object.key.slice(place.prefix.length).split('/');
      if (parts.every(isPlain)) {
        const folder = parts.slice(0, -1).join('/');
        folders.set(folder, [...(folders.get(folder) ?? []), object]);
      }
    }
  }
  for (const [folder, objects] of folders) {
    await pause();
    writeMirror(join(root, folder), place.bucket, objects);
  }
}

/** Folders of one audit; each is listed once. */
export class MirrorOfFolders {
  private readonly listed = new Map<string, Promise<readonly StoredObject[]>>();

  constructor(
    private readonly client: S3Client,
    private readonly place: Place,
    readonly root: string,
    /** Of all mirrors. */
    private readonly base: string,
  ) {}

  /**
   * @param names of files, with forward slashes: what lies beside them is mirrored too
   * @param last the gradient, which no other job needs
   * @returns what removes the blocks that were fetched of that, and of what else is of this dump alone
   */
  async prepare(names: readonly string[], last: string): Promise<() => void> {
    for (const folder of new Set([last, ...names].map((name) => posix.dirname(name)))) {
      const own = this.listed.get(folder) ?? this.list(folder);
      this.listed.set(folder, own);
      await own;
    }
    const beside = (await this.listed.get(posix.dirname(last))) ?? [];
    // A folder of many dumps may hold the checkpoint of all of them.
    const own =
      beside.length <= MOST_OF_ONE_DUMP ? beside : beside.filter(({ key }) => key === this.place.prefix + last);
    return () => {
      for (const object of own) {
        rmSync(blocksFile(this.base, object), { force: true });
      }
    };
  }

  private async list(folder: string): Promise<StoredObject[]> {
    const place = within(this.place, folder);
    const objects: StoredObject[] = [];
    for await (const page of this.client.list(place, false)) {
      objects.push(...page.filter(({ key }) => isPlain(key.slice(place.prefix.length))));
    }
    writeMirror(join(this.root, folder), this.place.bucket, objects);
    return objects;
  }
}

function writeMirror(folder: string, bucket: string, objects: readonly StoredObject[]): void {
  mkdirSync(folder, { recursive: true });
  const files: Record<string, Pick<StoredObject, 'key' | 'bytes' | 'etag'>> = {};
  for (const { key, bytes, changed, etag } of objects) {
    const name = posix.basename(key);
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    const file = openSync(path, 'w');
    try {
      ftruncateSync(file, bytes);
    } finally {
      closeSync(file);
    }
    utimesSync(path, changed / 1000, changed / 1000);
    files[name] = { key, bytes, etag };
  }
  const own: MirroredFolder = { bucket, files };
  writeFileSync(join(folder, LIST_FILE), JSON.stringify(own));
}
