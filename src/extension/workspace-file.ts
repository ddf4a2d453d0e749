import { lstatSync, readlinkSync, realpathSync } from 'node:fs';
import { dirname, join, resolve, sep } from 'node:path';
import { pathWithin } from '../project/within.js';

/**
 * Files that a dump's notes name. Whoever wrote the notes may name anything, and on Windows merely asking for a file of
 * another server sends the user's credentials there: nothing outside the workspace is touched.
 */
export type WorkspaceFile = { readonly file: string } | { readonly why: string };

const OUTSIDE: WorkspaceFile = { why: 'The script is outside this workspace, so GradLeak does not open it.' };
const MISSING: WorkspaceFile = { why: 'The script is no longer in this workspace.' };
/** As many as Linux follows. */
const MOST_LINKS = 40;

/**
 * @param path what the notes say
 * @param folders of the workspace; the user opened them, so they may be links themselves
 * @returns the file inside the workspace, without links below its folder; or a sentence that says why it is not opened
 */
export function workspaceFile(path: string, folders: readonly string[]): WorkspaceFile {
  const roots = folders.flatMap((folder) =>
    [...new Set([folder, realFolder(folder)])].map((root) => ({ folder, root })),
  );
  let at = path;
  for (let links = 0; links <= MOST_LINKS; links++) {
    const place = roots
      .map(({ folder, root }) => ({ folder, within: pathWithin(root, at) }))
      .find((own): own is { folder: string; within: string } => own.within !== undefined);
    if (!place) {
      return OUTSIDE;
    }
    const step = firstLink(place.folder, place.within);
    if (!step) {
      return MISSING;
    }
    if (!step.isLink) {
      return { file: step.path };
    }
    at = step.path;
  }
  return MISSING;
}

function realFolder(folder: string): string {
  try {
    return realpathSync.native(folder);
  } catch {
    return folder;
  }
}

/** Where the first link on the way leads, or the file when there is none; undefined where there is no file. */
function firstLink(folder: string, within: string): { path: string; isLink: boolean } | undefined {
  const steps = within.split(sep);
  let path = folder;
  try {
    for (const [index, step] of steps.entries()) {
      path = join(path, step);
      if (lstatSync(path).isSymbolicLink()) {
        return { path: resolve(dirname(path), readlinkSync(path), ...steps.slice(index + 1)), isLink: true };
      }
    }
    return lstatSync(path).isFile() ? { path, isLink: false } : undefined;
  } catch {
    return undefined;
  }
}
