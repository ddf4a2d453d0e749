import { existsSync, readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import ignore, { type Ignore } from 'ignore';
import picomatch from 'picomatch';
import { readBounded } from '../formats/json-file.js';
import { isTensorFileName } from '../formats/open.js';

/** Which files of a project may be dumps, checkpoints or networks. */

export interface Discovered {
  /** Absolute paths. */
  readonly tensorFiles: readonly string[];
  readonly networks: readonly string[];
  /** True when the folder was too large to be walked to its end. */
  readonly truncated: boolean;
}

export interface DiscoverOptions {
  /** Globs relative to the root that are left out, as VS Code's `files.exclude`. */
  readonly exclude: readonly string[];
  /** Also look at what `.gitignore` leaves out. */
  readonly includeIgnored: boolean;
  /** Files and folders that are looked at. */
  readonly mostEntries?: number;
}

const ALWAYS_LEFT_OUT = new Set([
  '.git',
  'node_modules',
  '.venv',
  'venv',
  '__pycache__',
  'site-packages',
  '.hg',
  '.svn',
]);
/** Our own reports hold .npy files too. */
const OUR_FOLDER = 'gradleak-report';
const MOST_ENTRIES = 200_000;
const MOST_DEPTH = 40;

/**
 * Walks a folder without following links.
 *
 * @param pause called between folders; may throw to stop
 */
export async function discover(
  root: string,
  { exclude, includeIgnored, mostEntries = MOST_ENTRIES }: DiscoverOptions,
  pause: () => Promise<void>,
): Promise<Discovered> {
  const tensorFiles: string[] = [];
  const networks: string[] = [];
  const isExcluded = picomatch([...exclude], { dot: true });
  let seen = 0;
  const walk = async (
    folder: string,
    rules: readonly { base: string; rule: Ignore }[],
    depth: number,
  ): Promise<void> => {
    const own = includeIgnored ? undefined : gitignoreOf(folder);
    const all = own ? [...rules, { base: folder, rule: own }] : rules;
    const isIgnored = (path: string, isFolder: boolean): boolean =>
      all.some(({ base, rule }) => rule.ignores(`${portable(relative(base, path))}${isFolder ? '/' : ''}`));
    for (const entry of entriesOf(folder)) {
      seen++;
      const path = join(folder, entry.name);
      const name = portable(relative(root, path));
      if (seen > mostEntries || isExcluded(name) || isIgnored(path, entry.isDirectory())) {
        continue;
      }
      if (entry.isDirectory()) {
        if (!ALWAYS_LEFT_OUT.has(entry.name) && entry.name !== OUR_FOLDER && depth < MOST_DEPTH) {
          await pause();
          await walk(path, all, depth + 1);
        }
      } else if (entry.isFile() && isTensorFileName(entry.name)) {
        tensorFiles.push(path);
      } else if (entry.isFile() && entry.name.endsWith('.onnx')) {
        networks.push(path);
      }
    }
  };
  await walk(root, [], 0);
  return { tensorFiles, networks, truncated: seen > mostEntries };
}

function entriesOf(folder: string): { name: string; isDirectory(): boolean; isFile(): boolean }[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).sort((one, other) => (one.name < other.name ? -1 : 1));
  } catch {
    // A folder that may not be read holds nothing that could be audited.
    return [];
  }
}

const MOST_IGNORE_BYTES = 2 ** 20;

function gitignoreOf(folder: string): Ignore | undefined {
  const path = join(folder, '.gitignore');
  try {
    return existsSync(path)
      ? ignore().add(patternsOf(readBounded(path, MOST_IGNORE_BYTES).toString('utf8')))
      : undefined;
  } catch {
    // What cannot be read leaves nothing out.
    return undefined;
  }
}

/** Patterns become regular expressions, which take time that grows with every star, and memory that grows with length. */
const MOST_PATTERN = 1024;
const MOST_STARS = 6;
const MOST_PATTERNS = 10_000;

/** Lines that no `.gitignore` of a person has leave nothing out. */
function patternsOf(text: string): string[] {
  const isPlain = (line: string): boolean =>
    line.length <= MOST_PATTERN && (line.match(/\*+/g) ?? []).length <= MOST_STARS;
  return text.split(/\r?\n/).filter(isPlain).slice(0, MOST_PATTERNS);
}

/** Forward slashes, as globs and reports have them. */
export function portable(path: string): string {
  return path.split(sep).join('/');
}
