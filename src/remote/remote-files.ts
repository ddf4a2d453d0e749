import {
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { type ByteSource, type RemoteFiles, rangeSource } from '../formats/byte-source.js';
import { LIST_FILE, type MirroredFolder, blocksFile } from './mirror.js';
import type { S3Client } from './s3-client.js';

/** Files of a mirror, read from the store that it mirrors, by ranges. */

/** Of the environment of a child: the root of the mirror whose files it reads. */
export const MIRROR_VARIABLE = 'GRADLEAK_MIRROR';

/** What is fetched at a time at least; what was fetched is kept on disk, as audits read the same tensors more than once. */
const BLOCK = 64 * 1024;
/** Memory of one request. */
const MOST_AT_ONCE = 64 * 2 ** 20;

export class MirroredFiles implements RemoteFiles {
  private readonly fetched = new Map<string, FetchedBlocks>();
  private readonly folders = new Map<string, { readonly changed: number; readonly own: MirroredFolder }>();

  /** @param root of the mirror: what lies elsewhere is the machine's own, whatever it is called */
  constructor(
    private readonly root: string,
    private readonly client: S3Client,
  ) {}

  identity(path: string): string | undefined {
    const found = this.find(path);
    return found && `ETag ${found.etag} of s3://${found.bucket}/${found.key}`;
  }

  open(path: string): ByteSource | undefined {
    const found = this.find(path);
    if (!found) {
      return undefined;
    }
    const fetched = new FetchedBlocks(blocksFile(this.root, found), found.bytes, (start, length) =>
      this.client.readNow(path, found, start, length),
    );
    const known = this.fetched.get(path);
    const own = known?.isStill(fetched.file) === true ? known : fetched;
    this.fetched.set(path, own);
    return rangeSource(path, found.bytes, (offset, length) => own.read(offset, length));
  }

  private find(path: string): { bucket: string; key: string; bytes: number; etag: string } | undefined {
    if (relative(this.root, path).startsWith('..')) {
      return undefined;
    }
    const folder = this.folder(dirname(path));
    const name = basename(path);
    const own = folder && Object.hasOwn(folder.files, name) ? folder.files[name] : undefined;
    return folder && own && { bucket: folder.bucket, ...own };
  }

  private folder(path: string): MirroredFolder | undefined {
    const list = join(path, LIST_FILE);
    const changed = statSync(list, { throwIfNoEntry: false })?.mtimeMs;
    if (changed === undefined) {
      return undefined;
    }
    const known = this.folders.get(path);
    if (known?.changed === changed) {
      return known.own;
    }
    // Written by this program, in a folder of its own.
    const own = JSON.parse(readFileSync(list, 'utf8')) as MirroredFolder;
    this.folders.set(path, { changed, own });
    return own;
  }
}

/** Blocks of an object that are on this machine. */
class FetchedBlocks {
  private readonly has: Uint8Array;

  constructor(
    readonly file: string,
    private readonly size: number,
    private readonly fetch: (start: number, length: number) => Uint8Array<ArrayBuffer>,
  ) {
    this.has = new Uint8Array(Math.ceil(size / BLOCK));
  }

  /** Whether what was fetched is still there: it is removed when a job is over. */
  isStill(file: string): boolean {
    return file === this.file && statSync(file, { throwIfNoEntry: false }) !== undefined;
  }

  read(offset: number, length: number): Uint8Array<ArrayBuffer> {
    mkdirSync(dirname(this.file), { recursive: true });
    const descriptor = openSync(this.file, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      if (fstatSync(descriptor).size === 0) {
        // New, or removed in between.
        this.has.fill(0);
      }
      this.fill(descriptor, Math.floor(offset / BLOCK), Math.ceil((offset + length) / BLOCK));
      const bytes = new Uint8Array(length);
      for (let done = 0; done < length;) {
        done += readSync(descriptor, bytes, done, length - done, offset + done);
      }
      return bytes;
    } finally {
      closeSync(descriptor);
    }
  }

  /** @param first, end blocks that must be there */
  private fill(descriptor: number, first: number, end: number): void {
    const most = MOST_AT_ONCE / BLOCK;
    for (let at = first; at < end; at++) {
      if (this.has[at] === 1) {
        continue;
      }
      let next = at + 1;
      while (next < end && next - at < most && this.has[next] !== 1) {
        next++;
      }
      const start = at * BLOCK;
      const bytes = this.fetch(start, Math.min(next * BLOCK, this.size) - start);
      for (let done = 0; done < bytes.length;) {
        done += writeSync(descriptor, bytes, done, bytes.length - done, start + done);
      }
      this.has.fill(1, at, next);
      at = next - 1;
    }
  }
}
