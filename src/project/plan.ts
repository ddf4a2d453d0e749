import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { messageOf } from '../protocol/errors.js';
import type { FileKind } from '../protocol/inspection.js';
import type { FileIdentity } from '../protocol/manifest.js';
import type { ProjectEntry, ProjectPlan } from '../protocol/project-report.js';
import { type Capture, readCapture } from '../facts/capture.js';
import { isNamedUpdate } from '../facts/inputs.js';
import { fitOf } from '../facts/matching.js';
import { truthFileBeside } from '../audit/truth.js';
import { isFileSystemError } from '../formats/content-hash.js';
import { openTensorFile } from '../formats/open.js';
import type { TensorFile } from '../formats/tensor-file.js';
import { type DiscoverOptions, discover, portable } from './discover.js';
import { SameFile, keyOf } from './job-key.js';

/** Which gradient is audited against which checkpoint. */

export interface PlanOptions extends DiscoverOptions {
  /** Changes with the settings and the files they name, so that results of other settings are not taken for these. */
  readonly settings: string;
  /** What tells that a file is the same: its contents where undefined. */
  readonly identity?: FileIdentity;
  /** File that keeps the contents' hashes from plan to plan. */
  readonly hashCache?: string;
  /** Tells a gradient from a checkpoint. */
  kindOf(file: TensorFile): FileKind;
  /** Runs what may take long because of a file. */
  readonly watch?: <T>(path: string, work: () => T) => Promise<T>;
  /** Files that are not looked at, absolute, with the reason. */
  leftOut?: readonly { readonly path: string; readonly reason: string }[];
}

/** Below this share of matching tensors, a checkpoint is of another network. */
const LEAST_FIT = 0.6;

interface Opened {
  readonly path: string;
  readonly file: Listing;
  readonly kind: FileKind;
}

/** Names and shapes. Thousands of dumps of one network share them. */
type Listing = Pick<TensorFile, 'path' | 'entries'>;

/**
 * Finds dumps and pairs each with the checkpoint that fits it best; among equals the one nearest by.
 *
 * @param pause called between files and chunks of them; may throw to stop
 */
export async function planProject(
  root: string,
  options: PlanOptions,
  pause: () => Promise<void>,
): Promise<ProjectPlan> {
  const { tensorFiles, networks, truncated } = await discover(root, options, pause);
  const skipped: ProjectPlan['skipped'] = truncated
    ? [{ path: '.', reason: 'The folder holds too many files; only the first were looked at.', isGradient: true }]
    : [];
  const { watch = unwatched, leftOut = [] } = options;
  const opened: Opened[] = [];
  const listings = new Listings();
  const same = new SameFile(options.identity, options.hashCache, pause);
  for (const path of tensorFiles) {
    await pause();
    const left = leftOut.find((own) => own.path === path);
    if (left) {
      skipped.push({ path: portable(relative(root, path)), reason: left.reason });
      continue;
    }
    try {
      opened.push(await watch(path, () => openedFor(path, options, listings)));
    } catch (error) {
      skipped.push({ path: portable(relative(root, path)), reason: messageOf(error) });
    }
  }
  const isDump = ({ kind, path }: Opened): boolean => kind === 'gradient' || kind === 'delta' || isCaptured(path);
  const dumps = opened.filter(isDump);
  const checkpoints = opened.filter((own) => !isDump(own) && own.kind !== 'optimiser-state');
  const byFolder = new Map<string, Opened[]>();
  for (const own of checkpoints) {
    const folder = dirname(own.path);
    byFolder.set(folder, [...(byFolder.get(folder) ?? []), own]);
  }
  const entries: ProjectEntry[] = [];
  for (const dump of dumps) {
    await pause();
    const name = portable(relative(root, dump.path));
    const best = await watch(dump.path, () => bestCheckpoint(dump, checkpoints, byFolder, listings));
    if (best) {
      const network = networkFor(root, dump.path, networks);
      try {
        entries.push(await entryFor(root, dump.path, best, network, options.settings, same));
      } catch (error) {
        if (!isFileSystemError(error)) {
          throw error;
        }
        skipped.push({ path: name, reason: error.message, isGradient: true });
      }
    } else {
      skipped.push({
        path: name,
        reason: `It looks like a gradient, and none of ${checkpoints.length} other files fits it as its checkpoint.`,
        isGradient: true,
      });
    }
  }
  same.save();
  return { root, entries, skipped };
}

/** Names and shapes that are equal are kept once, and compared once. */
class Listings {
  private readonly known = new Map<string, TensorFile['entries']>();
  private readonly fits = new Map<TensorFile['entries'], Map<TensorFile['entries'], number>>();

  of({ path, entries }: TensorFile): Listing {
    const text = JSON.stringify(entries);
    const key = text.length > LONG_LISTING ? createHash('sha256').update(text).digest('base64') : text;
    const known = this.known.get(key);
    if (!known) {
      this.known.set(key, entries);
    }
    return { path, entries: known ?? entries };
  }

  fit(checkpoint: Listing, gradients: Listing): number {
    const row = this.fits.get(checkpoint.entries) ?? new Map<TensorFile['entries'], number>();
    this.fits.set(checkpoint.entries, row);
    const known = row.get(gradients.entries) ?? fitOf(checkpoint, gradients);
    row.set(gradients.entries, known);
    return known;
  }
}

const LONG_LISTING = 256;

function unwatched<T>(_path: string, work: () => T): Promise<T> {
  return Promise.resolve(work());
}

function openedFor(path: string, options: PlanOptions, listings: Listings): Opened {
  const file = openTensorFile(path);
  try {
    return { path, file: listings.of(file), kind: options.kindOf(file) };
  } finally {
    // Directories stay in memory, files do not stay open: there may be thousands.
    file.close();
  }
}

/** What gradleak_capture.py names what clients send. */
function isCaptured(path: string): boolean {
  return isNamedUpdate(basename(path)) && existsSync(join(dirname(path), 'capture.json'));
}

interface Candidate {
  readonly path: string;
  readonly fit: number;
  readonly score: number;
}

/** Of thousands of captures, each with its own checkpoint, only those beside each other are compared. */
function bestCheckpoint(
  dump: Opened,
  checkpoints: readonly Opened[],
  byFolder: ReadonlyMap<string, readonly Opened[]>,
  listings: Listings,
): Candidate | undefined {
  const beside = bestOf(dump, byFolder.get(dirname(dump.path)) ?? [], listings);
  return beside?.fit === 1 ? beside : bestOf(dump, checkpoints, listings);
}

function bestOf(dump: Opened, checkpoints: readonly Opened[], listings: Listings): Candidate | undefined {
  let best: Candidate | undefined;
  for (const { path, file } of checkpoints) {
    const fit = listings.fit(file, dump.file);
    // Rounds of one network fit equally well: the file beside the dump, and the one called a checkpoint, come first.
    const score = fit + closeness(path, dump.path) + (basename(path).startsWith('checkpoint.') ? 0.01 : 0);
    if (fit >= LEAST_FIT && (!best || score > best.score)) {
      best = { path, fit, score };
    }
  }
  return best;
}

/** Up to 0.05 for the same folder, less with every folder in between. */
function closeness(one: string, other: string): number {
  const steps = portable(relative(dirname(one), dirname(other)))
    .split('/')
    .filter(Boolean).length;
  return 0.05 / (1 + steps);
}

async function entryFor(
  root: string,
  gradients: string,
  { path: checkpoint, fit }: { path: string; fit: number },
  network: string | undefined,
  settings: string,
  same: SameFile,
): Promise<ProjectEntry> {
  const name = portable(relative(root, gradients));
  const truth = truthFileBeside(gradients);
  const capture = captureOf(gradients);
  const files = {
    gradients: name,
    checkpoint: portable(relative(root, checkpoint)),
    truth: truth === undefined ? null : portable(relative(root, truth)),
    network: network === undefined ? null : portable(relative(root, network)),
  };
  return {
    id: await keyOf(root, files, settings, same),
    ...files,
    fit,
    ...runOf(name, capture?.round),
    script: capture?.script ?? null,
    status: 'pending',
    problem: null,
    result: null,
    change: 'new',
  };
}

/** The only ONNX file of the nearest folder above the dump that has any; the audit itself looks beside the dump. */
function networkFor(root: string, gradients: string, networks: readonly string[]): string | undefined {
  for (let folder = dirname(gradients); folder.startsWith(root); folder = dirname(folder)) {
    const own = networks.filter((path) => dirname(path) === folder);
    if (own.length > 0 || folder === root) {
      return own.length === 1 && folder !== dirname(gradients) ? own[0] : undefined;
    }
  }
  return undefined;
}

function captureOf(gradients: string): Capture | undefined {
  try {
    return readCapture(gradients);
  } catch {
    // The audit will say what is wrong with it.
    return undefined;
  }
}

/** Words that number a training; any other number may be a client, a seed or a count of classes. */
const ROUND_NAME =
  /(?:^|[-_. ])(?:(?:server|global|fl|comm)[-_. ]?)?(?:round|rnd|epoch|step|iter(?:ation)?)[-_=. ]?(\d{1,9})(?=$|[-_. ])/i;

/**
 * The run and the round that a path tells: `runs/step-3/gradient.pt` is round 3 of `runs`, `round_2/client_1.pt` is round 2
 * of `client_1`. Without such a name the run is the dump's folder, and only the capture's notes can tell a round.
 *
 * @param noted the round in the capture's notes, which goes before the name
 */
export function runOf(name: string, noted?: number): { run: string; round: number | null } {
  const isGeneric = /^(gradients?|grads?)\.[^/]*$/.test(basename(name));
  const folder = portable(dirname(name));
  const parts = (isGeneric ? folder : name.replace(/\.(safetensors\.index\.json|\w+)$/, '')).split('/');
  const at = parts.findLastIndex((part) => ROUND_NAME.test(part));
  const found = ROUND_NAME.exec(parts[at] ?? '');
  if (!found) {
    // A folder holds one capture, so those of a run lie beside each other.
    return noted === undefined
      ? { run: folder, round: null }
      : { run: isGeneric ? portable(dirname(folder)) : folder, round: noted };
  }
  const rest = (parts[at] ?? '').replace(ROUND_NAME, '').replace(/^[-_. ]+/, '');
  const run = parts.toSpliced(at, 1, ...(rest === '' ? [] : [rest])).join('/');
  return { run: run === '' ? '.' : run, round: noted ?? Number(found[1]) };
}
