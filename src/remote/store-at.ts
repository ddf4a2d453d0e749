import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { serveFrom } from '../formats/byte-source.js';
import type { ManifestJob } from '../protocol/manifest.js';
import { isRemote, placeOf } from './address.js';
import { MirrorOfFolders, mirrorAll } from './mirror.js';
import type { Place } from './requests.js';
import { MirroredFiles } from './remote-files.js';
import { S3Client } from './s3-client.js';
import { S3Store } from './s3-store.js';
import { FolderStore } from '../shards/folder-store.js';
import type { ResultStore } from '../shards/result-store.js';

/** Where projects and results are: folders, or prefixes of an object store. */

export interface OpenStore {
  readonly store: ResultStore;
  readonly close: () => void;
}

/** @throws UnusableInputError when the place cannot be written to */
export function storeAt(place: string): OpenStore {
  if (!isRemote(place)) {
    return { store: new FolderStore(resolve(place)), close: () => undefined };
  }
  const client = new S3Client();
  const store = new S3Store(client, placeOf(place));
  return {
    store,
    close: () => {
      store.dispose();
      client.close();
    },
  };
}

/** Where jobs find their files on this machine. */
export interface ProjectFiles {
  readonly root: string;
  /** Brings what a job needs there. */
  readonly prepare?: (job: ManifestJob) => Promise<() => void>;
}

/** Projects in folders, and mirrors of those in an object store. */
export class Projects {
  /** Of all mirrors; children have to know of it. Made when there is something to mirror. */
  readonly mirror = join(tmpdir(), `gradleak-s3-${randomBytes(12).toString('hex')}`);
  private readonly client = new S3Client();
  private readonly known = new Map<string, ProjectFiles>();

  constructor() {
    // What tells that a mirrored file is the same is asked for here too; children read it.
    serveFrom(new MirroredFiles(this.mirror, this.client));
  }

  /** @throws UnusableInputError when it is no address */
  at(root: string): ProjectFiles {
    const own = this.known.get(root) ?? this.made(root);
    this.known.set(root, own);
    return own;
  }

  /** Everything in a project, to be planned. @param pause called in between; may throw to stop @returns its folder */
  async whole(root: string, pause: () => Promise<void>): Promise<string> {
    if (!isRemote(root)) {
      return resolve(root);
    }
    const place = placeOf(root);
    const folder = this.folderOf(place);
    await mirrorAll(this.client, place, folder, pause);
    return folder;
  }

  close(): void {
    rmSync(this.mirror, { recursive: true, force: true });
    this.client.close();
  }

  private made(root: string): ProjectFiles {
    if (!isRemote(root)) {
      return { root: resolve(root) };
    }
    const place = placeOf(root);
    const mirror = new MirrorOfFolders(this.client, place, this.folderOf(place), this.mirror);
    return {
      root: mirror.root,
      prepare: ({ gradients, checkpoint, truth, network }) =>
        mirror.prepare(
          [checkpoint, truth, network].filter((name) => name !== null),
          gradients,
        ),
    };
  }

  /** Named so that reports, which name the files, say where they are. */
  private folderOf({ bucket, prefix }: Place): string {
    mkdirSync(this.mirror, { recursive: true, mode: 0o700 });
    const parts = prefix.split('/').filter((part) => !['', '.', '..'].includes(part));
    return join(this.mirror, 's3', bucket, ...parts);
  }
}
