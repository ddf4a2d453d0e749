import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { UnusableInputError } from '../protocol/errors.js';
import { parseJson, readBounded } from '../formats/json-file.js';
import { TENSOR_FILE_EXTENSIONS, isTensorFileName } from '../formats/open.js';
import { INDEX_EXTENSIONS } from '../formats/sharded.js';

/** Which files an audit reads, from what the user gave. */

/** What PEFT's and transformers' `save_pretrained` call their files: adapters apart from the model that they are added to. */
export const ADAPTER_FILES = ['adapter_model.safetensors', 'adapter_model.bin'];
export const BASE_FILES = [
  'model.safetensors',
  'model.safetensors.index.json',
  'pytorch_model.bin',
  'pytorch_model.bin.index.json',
];

export interface AuditPaths {
  readonly checkpoint?: string;
  readonly gradients: string;
}

/** What our capture script calls what a client sends: its gradient, or its weights after local training. */
const UPDATE_NAMES = [/^gradients?\./, /^after\./];
const CHECKPOINT_NAMES = [/^checkpoint\./, /^before\./];

/** Whether a file is called as our capture script calls what a client sends. */
export function isNamedUpdate(name: string): boolean {
  return UPDATE_NAMES.some((pattern) => pattern.test(name));
}

/**
 * A folder that holds `checkpoint.*` (or `before.*`) and `gradient.*` (or `gradients.*`, or weights `after.*`), as our capture
 * script writes it. Without `checkpoint.*`, a model as `save_pretrained` writes it is the checkpoint, or else adapters.
 *
 * @throws UnusableInputError when either is missing or there are several
 */
export function pathsInFolder(folder: string): Required<AuditPaths> {
  if (!existsSync(folder) || !statSync(folder).isDirectory()) {
    throw new UnusableInputError({
      code: 'missing-file',
      file: folder,
      found: existsSync(folder) ? 'a file' : 'no such folder',
      expected: 'a folder that holds checkpoint.* and gradient.* or after.*',
      advice: 'Give such a folder, or the two files.',
      next: ['give-files'],
    });
  }
  const names = readdirSync(folder);
  return { checkpoint: checkpointIn(folder, names), gradients: gradientIn(folder, names) };
}

const ENDINGS = [...TENSOR_FILE_EXTENSIONS, ...INDEX_EXTENSIONS];

/** The weights before, where a file is called as our capture script calls those after, and has no other beside it. */
export function pairOfWeights(path: string): Required<AuditPaths> | undefined {
  try {
    const pair = pathsInFolder(dirname(path));
    return pair.gradients === path && basename(path).startsWith('after.') ? pair : undefined;
  } catch {
    return undefined;
  }
}

/** Those of the first pattern that there are any of. */
function filesCalled(names: readonly string[], patterns: readonly RegExp[]): string[] {
  const found = patterns.map((pattern) => names.filter((name) => pattern.test(name) && isTensorFileName(name)));
  return found.find((own) => own.length > 0) ?? [];
}

function gradientIn(folder: string, names: readonly string[]): string {
  return onlyOf(folder, filesCalled(names, UPDATE_NAMES), `gradient${ENDINGS.join(' or ')}, or after.* with weights`);
}

function checkpointIn(folder: string, names: readonly string[]): string {
  const named = filesCalled(names, CHECKPOINT_NAMES);
  const saved = [BASE_FILES, ADAPTER_FILES].map((own) => own.filter((name) => names.includes(name)));
  const found = [named, ...saved].find((own) => own.length > 0) ?? [];
  return onlyOf(folder, found, `checkpoint${ENDINGS.join(' or ')}, or one of ${BASE_FILES.join(', ')}`);
}

/**
 * Whether a folder is meant as one capture: it holds `gradient.*` of its own, or `after.*` beside `checkpoint.*` or `before.*`,
 * or nothing at all. Files are not folders of many.
 */
export function isCapture(folder: string): boolean {
  if (!existsSync(folder) || !statSync(folder).isDirectory()) {
    return true;
  }
  const names = readdirSync(folder);
  const [gradients, after] = UPDATE_NAMES.map((pattern) => names.some((name) => pattern.test(name)));
  const hasCheckpoint = names.some((name) => CHECKPOINT_NAMES.some((pattern) => pattern.test(name)));
  return names.length === 0 || gradients === true || (after === true && hasCheckpoint);
}

/** @throws UnusableInputError for none and for several */
function onlyOf(folder: string, found: readonly string[], expected: string): string {
  const [only] = found;
  if (only === undefined || found.length > 1) {
    throw new UnusableInputError({
      code: only === undefined ? 'missing-file' : 'ambiguous-match',
      file: folder,
      found: only === undefined ? 'no such file' : found.join(', '),
      expected: `one file ${expected}`,
      advice: 'Give the two files; the gradient alone tells what leaks without a checkpoint.',
      next: ['give-files', 'without-checkpoint'],
    });
  }
  return join(folder, only);
}

/** @throws UnusableInputError when both paths lead to one file */
export function refuseSameFile({ checkpoint, gradients }: AuditPaths): void {
  if (
    checkpoint !== undefined &&
    existsSync(checkpoint) &&
    existsSync(gradients) &&
    realpathSync(checkpoint) === realpathSync(gradients)
  ) {
    throw sameFile(gradients);
  }
}

/** The error for a gradient file that is the checkpoint. */
export function sameFile(path: string): UnusableInputError {
  return new UnusableInputError({
    code: 'same-file',
    file: path,
    found: 'the same tensors as the checkpoint',
    expected: 'a captured gradient',
    advice: 'Choose the file with the gradient: weights are not gradients.',
  });
}

/** Files of these names that are there: beside the gradient in the order of the names, then beside the checkpoint. */
export function filesBeside({ gradients, checkpoint }: AuditPaths, names: readonly string[]): string[] {
  const folders = [...new Set([gradients, checkpoint ?? gradients].map((path) => dirname(path)))];
  return folders.flatMap((folder) => names.map((name) => join(folder, name))).filter((path) => existsSync(path));
}

const MAX_CLASS_FILE_BYTES = 4 * 2 ** 20;

/**
 * Class names from `classes.txt` (one a line), `classes.json` or `class_names.json` (a list, or a map from
 * index to name) beside the gradient or the checkpoint; undefined when there are none that fit.
 */
export function findClassNames(paths: AuditPaths, classes: number): string[] | undefined {
  for (const path of filesBeside(paths, CLASS_FILES)) {
    const names = readClassNames(path);
    if (names?.length === classes) {
      return names;
    }
  }
  return undefined;
}

/** Undefined for what cannot be read: the audit does without. */
function readClassNames(path: string): string[] | undefined {
  try {
    return parseClassNames(basename(path), readBounded(path, MAX_CLASS_FILE_BYTES));
  } catch {
    return undefined;
  }
}

const CLASS_FILES = ['classes.txt', 'classes.json', 'class_names.json', 'labels.txt'];

function parseClassNames(name: string, bytes: Buffer): string[] | undefined {
  if (!name.endsWith('.json')) {
    return bytes
      .toString('utf8')
      .split(/\r?\n/)
      .map((line) => line.trim())
      .filter(Boolean);
  }
  try {
    const value: unknown = parseJson(bytes);
    if (Array.isArray(value)) {
      return value.map(String);
    }
    if (typeof value === 'object' && value !== null) {
      const map = value as Record<string, unknown>;
      return Object.keys(map).every((key) => /^\d+$/.test(key))
        ? Object.keys(map)
            .sort((one, other) => Number(one) - Number(other))
            .map((key) => String(map[key]))
        : undefined;
    }
  } catch {
    // Names are a convenience: a broken list is the same as none.
  }
  return undefined;
}
