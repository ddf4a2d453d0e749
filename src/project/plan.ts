import { createHash } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { messageOf } from '../protocol/errors.js';
import type { FileKind } from '../protocol/inspection.js';
import type { ProjectEntry, ProjectPlan } from '../protocol/project-report.js';
import { readCapture } from '../audit/capture.js';
import { fitOf } from '../audit/matching.js';
import { openTensorFile } from '../formats/open.js';
import type { TensorFile } from '../formats/tensor-file.js';
import { type DiscoverOptions, discover, portable } from './discover.js';

/** Which gradient is audited against which checkpoint. */

export interface PlanOptions extends DiscoverOptions {
  /** Changes with the settings, so that results of other settings are not taken for these. */
  readonly settings: string;
  /** Tells a gradient from a checkpoint. */
  kindOf(file: TensorFile): FileKind;
}

/** Below this share of matching tensors, a checkpoint is of another network. */
const LEAST_FIT = 0.6;

interface Opened {
  readonly path: string;
  readonly file: TensorFile;
  readonly kind: FileKind;
}

/**
 * Finds dumps and pairs each with the checkpoint that fits it best; among equals the one nearest by.
 *
 * @param pause called between files; may throw to stop
 */
export async function planProject(
  root: string,
  options: PlanOptions,
  pause: () => Promise<void>,
): Promise<ProjectPlan> {
  const { tensorFiles, networks, truncated } = await discover(root, options, pause);
  const skipped: ProjectPlan['skipped'] = truncated
    ? [{ path: '.', reason: 'The folder holds too many files; only the first were looked at.' }]
    : [];
  const opened: Opened[] = [];
  for (const path of tensorFiles) {
    await pause();
    try {
      const file = openTensorFile(path);
      try {
        opened.push({ path, file, kind: options.kindOf(file) });
      } finally {
        // Directories stay in memory, files do not stay open: there may be thousands.
        file.close();
      }
    } catch (error) {
      skipped.push({ path: portable(relative(root, path)), reason: messageOf(error) });
    }
  }
  const isDump = ({ kind, path }: Opened): boolean => kind === 'gradient' || kind === 'delta' || isCaptured(path);
  const dumps = opened.filter(isDump);
  const checkpoints = opened.filter((own) => !isDump(own) && own.kind !== 'optimiser-state');
  const entries: ProjectEntry[] = [];
  for (const dump of dumps) {
    await pause();
    const name = portable(relative(root, dump.path));
    const best = bestCheckpoint(dump, checkpoints);
    if (best) {
      entries.push(entryFor(root, dump.path, best, networkFor(root, dump.path, networks), options.settings));
    } else {
      skipped.push({
        path: name,
        reason: `It looks like a gradient, and none of ${checkpoints.length} other files fits it as its checkpoint.`,
      });
    }
  }
  return { root, entries, skipped };
}

/** What gradleak_capture.py names its gradients. */
function isCaptured(path: string): boolean {
  return /^gradients?\./.test(basename(path)) && existsSync(join(dirname(path), 'capture.json'));
}

function bestCheckpoint(dump: Opened, checkpoints: readonly Opened[]): { path: string; fit: number } | undefined {
  let best: { path: string; fit: number; score: number } | undefined;
  for (const { path, file } of checkpoints) {
    const fit = fitOf(file, dump.file);
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

function entryFor(
  root: string,
  gradients: string,
  { path, fit }: { path: string; fit: number },
  network: string | undefined,
  settings: string,
): ProjectEntry {
  const name = portable(relative(root, gradients));
  const truth = join(dirname(gradients), 'truth.json');
  const capture = captureOf(gradients);
  return {
    id: identity([gradients, path, ...(network === undefined ? [] : [network])], settings),
    gradients: name,
    checkpoint: portable(relative(root, path)),
    fit,
    ...runOf(name),
    script: capture,
    truth: existsSync(truth) ? portable(relative(root, truth)) : null,
    network: network === undefined ? null : portable(relative(root, network)),
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

function captureOf(gradients: string): ProjectEntry['script'] {
  try {
    return readCapture(gradients)?.script ?? null;
  } catch {
    // The audit will say what is wrong with it.
    return null;
  }
}

function identity(paths: readonly string[], settings: string): string {
  const hash = createHash('sha256').update(settings);
  for (const path of paths) {
    const { size, mtimeMs } = statSync(path);
    hash.update(`\0${path}\0${size}\0${mtimeMs}`);
  }
  return hash.digest('hex').slice(0, 20);
}

/**
 * The run and the round that a path tells: `captures/train-3/gradient.pt` is round 3 of `captures/train`,
 * `dumps/round_12.pt` is round 12 of `dumps/round`.
 */
export function runOf(name: string): { run: string; round: number | null } {
  const isGeneric = /^(gradients?|grads?)\.[^/]*$/.test(basename(name));
  const own = isGeneric && name.includes('/') ? name.slice(0, name.lastIndexOf('/')) : name.replace(/\.\w+$/, '');
  const numbered = /^(.*?)[-_.]?(\d+)$/.exec(own);
  const run = numbered?.[1] ?? '';
  return numbered && run !== '' && !run.endsWith('/')
    ? { run, round: Number(numbered[2]) }
    : numbered
      ? { run: run.replace(/\/$/, '') || '.', round: Number(numbered[2]) }
      : { run: own, round: null };
}
