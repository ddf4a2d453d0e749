import nodePath from 'node:path';

/**
 * A path as it goes on from a folder, by its text alone: nothing is asked of the file system.
 *
 * @param paths the rules of another platform than this one
 * @returns undefined for the folder itself, for what is not absolute and for what is outside, on any drive or server
 */
export function pathWithin(folder: string, path: string, paths: nodePath.PlatformPath = nodePath): string | undefined {
  if (!paths.isAbsolute(path)) {
    return undefined;
  }
  const within = paths.relative(folder, path);
  const isOutside = within === '..' || within.startsWith(`..${paths.sep}`) || paths.isAbsolute(within);
  return within === '' || isOutside ? undefined : within;
}
