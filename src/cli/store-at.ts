import { resolve } from 'node:path';
import { FolderStore } from '../shards/folder-store.js';
import type { ResultStore } from '../shards/result-store.js';

/** @throws UnusableInputError when the place cannot be written to */
export function storeAt(place: string): Promise<ResultStore> {
  return Promise.resolve(new FolderStore(resolve(place)));
}
