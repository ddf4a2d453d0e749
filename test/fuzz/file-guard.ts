import fs from 'node:fs';
import { resolve, sep } from 'node:path';

/** Watches which paths the product opens, makes and removes, by standing in front of node's functions for files. */

const READS = ['readFileSync', 'readdirSync', 'opendirSync', 'readlinkSync'] as const;
const WRITES = [
  ...['writeFileSync', 'appendFileSync', 'mkdirSync', 'mkdtempSync', 'rmSync', 'rmdirSync', 'unlinkSync'],
  ...['renameSync', 'linkSync', 'symlinkSync', 'copyFileSync', 'truncateSync', 'chmodSync', 'utimesSync'],
] as const;

export interface FileGuard {
  /** From now on reads are allowed in `folder`, writes in `out` alone. */
  allow(folder: string, out: string): void;
  /** What was touched elsewhere since then, as a sentence; undefined where nothing was. */
  stop(): string | undefined;
}

export function guardFiles(): FileGuard {
  let allowed: { folder: string; out: string } | undefined;
  let touched: string | undefined;
  const home = process.cwd();
  const look = (name: string, path: unknown, isWrite: boolean): void => {
    if (allowed === undefined || touched !== undefined || (typeof path !== 'string' && !(path instanceof URL))) {
      return;
    }
    const own = resolve(path instanceof URL ? path.pathname : path);
    // Modules that load on demand lie in the repository.
    const isFine = isWrite ? isInside(own, allowed.out) : isInside(own, allowed.folder) || isInside(own, home);
    if (!isFine) {
      touched = `${name} of ${own}`;
    }
  };
  const guard = (owner: object, name: string, isWrite: (rest: readonly unknown[]) => boolean): void => {
    const original = Reflect.get(owner, name) as (...given: unknown[]) => unknown;
    Reflect.set(owner, name, (path: unknown, ...rest: unknown[]) => {
      const result = original.call(owner, path, ...rest);
      look(name, path, isWrite(rest));
      return result;
    });
  };
  const opensToWrite = ([flags]: readonly unknown[]): boolean =>
    typeof flags === 'number'
      ? (flags & (fs.constants.O_WRONLY | fs.constants.O_RDWR)) !== 0
      : /[wa+]/.test(String(flags));
  for (const name of READS) {
    guard(fs, name, () => false);
  }
  for (const name of WRITES) {
    guard(fs, name, () => true);
  }
  guard(fs, 'openSync', opensToWrite);
  guard(fs.promises, 'open', opensToWrite);
  return {
    allow(folder, out) {
      allowed = { folder, out };
      touched = undefined;
    },
    stop() {
      allowed = undefined;
      return touched;
    },
  };
}

function isInside(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder + sep);
}
