import { basename } from 'node:path';
import type { FileKind, FileKindReport } from '../protocol/inspection.js';
import { type TensorEntry, type TensorFile, elementCount, isFloating } from '../formats/tensor-file.js';
import { type MatrixView, rankOf } from './structure.js';

/** What a tensor file is: told from names, roles and a few small tensors, each reason with its weight. */

interface Evidence {
  readonly kind: Exclude<FileKind, 'unknown'>;
  /** A name suggests (1), content shows (3), or nothing else can hold it (12): differences and moments have a gradient's traits too. */
  readonly weight: number;
  readonly reason: string;
}

const OPTIMISER =
  /(^|[./])(exp_avg|exp_avg_sq|max_exp_avg_sq|momentum_buffer|square_avg|acc_delta|param_groups|ema_momentum)([./]|$)/;
const RUNNING_VARIANCE = /(^|[./])(running_var|moving_variance)$/;
const STATISTICS = /(^|[./])(running_mean|running_var|num_batches_tracked|moving_mean|moving_variance)$/;
const NORM_WEIGHT = /(^|[./])(bn|norm|ln|layer_?norm|batch_?norm)[\w]*[./](weight|gamma)(:0)?$/i;

const NAME_HINTS: readonly [RegExp, Evidence['kind'], string][] = [
  [/grad/i, 'gradient', 'gradients'],
  [/delta|update|diff/i, 'delta', 'a difference of weights'],
  [/optim/i, 'optimiser-state', 'optimiser state'],
  [/checkpoint|ckpt|model|weights|state_?dict|best|last|epoch/i, 'checkpoint', 'a checkpoint'],
];

/** Values are looked at in small tensors only, so that nothing of size is read to say this. */
const MOST_ELEMENTS = 2 ** 14;
const MOST_LOOKED_AT = 24;

/**
 * @param withValues also look into a few small tensors (at most 24 of 16,384 elements)
 */
export function fileKindOf(file: TensorFile, withValues: boolean): FileKindReport {
  const evidence = [...byNames(file), ...(withValues ? byValues(file) : [])];
  const weights = new Map<Evidence['kind'], number>();
  for (const { kind, weight } of evidence) {
    weights.set(kind, (weights.get(kind) ?? 0) + weight);
  }
  const ranked = [...weights].sort(([, one], [, other]) => other - one);
  const [best, second] = ranked;
  if (!best || second?.[1] === best[1]) {
    return {
      kind: 'unknown',
      reasons: best
        ? evidence.map(({ reason }) => reason)
        : ['Neither names nor small tensors say whether these are weights or gradients.'],
    };
  }
  const sure = best[1] - (second?.[1] ?? 0) >= SURE;
  const own = evidence.filter(({ kind }) => kind === best[0]).sort((one, other) => other.weight - one.weight);
  const against = evidence.filter(({ kind }) => kind !== best[0]).map(({ reason }) => `Against it: ${lower(reason)}`);
  const reasons = [...own.map(({ reason }) => reason), ...against];
  return sure ? { kind: best[0], reasons, sure } : { kind: best[0], reasons };
}

/** A file's name and one trait of its contents may mislead together; this much more than for any other kind does not. */
const SURE = 4;

/**
 * Whether a picker should offer the file: false only for one that surely is something else. A difference of weights
 * passes as a gradient, since it is audited like one.
 */
export function canBe({ kind, sure }: FileKindReport, what: 'gradient' | 'checkpoint'): boolean {
  const open: readonly FileKind[] = what === 'gradient' ? ['gradient', 'delta', 'unknown'] : ['checkpoint', 'unknown'];
  return sure !== true || open.includes(kind);
}

function lower(sentence: string): string {
  return sentence.charAt(0).toLowerCase() + sentence.slice(1);
}

/** The entries of an optimiser's state, counters of its steps included; the one that gives it away comes first. */
function optimiserEntries(entries: readonly TensorEntry[]): TensorEntry[] {
  const telling = entries.filter(({ name }) => OPTIMISER.test(name));
  if (telling.length === 0) {
    return [];
  }
  const groups = new Set(telling.map(({ group }) => group));
  return [
    ...telling,
    ...entries.filter((entry) => !OPTIMISER.test(entry.name) && (groups.has(entry.group) || entry.key === 'step')),
  ];
}

/** The name of a tensor that only optimisers keep, when the file holds nothing but their state. */
export function isOptimiserState({ entries }: TensorFile): string | undefined {
  const state = optimiserEntries(entries);
  return state.length > 0 && state.length === entries.length ? state[0]?.name : undefined;
}

function byNames({ path, entries }: TensorFile): Evidence[] {
  const found: Evidence[] = [];
  const optimiser = optimiserEntries(entries);
  const [example] = optimiser;
  if (example && entries.length > optimiser.length) {
    found.push({
      kind: 'checkpoint',
      weight: 4,
      reason: `It holds weights and the state of an optimiser ("${example.name}").`,
    });
  } else if (example) {
    found.push({ kind: 'optimiser-state', weight: 12, reason: `It holds "${example.name}", which optimisers keep.` });
  }
  const statistics = entries.find(({ name }) => STATISTICS.test(name));
  if (statistics) {
    found.push({
      kind: 'checkpoint',
      weight: 2,
      reason: `It holds "${statistics.name}": buffers are saved with weights and have no gradients.`,
    });
  }
  const grads = entries.filter(({ name }) => /(^|[./_])(grads?|gradients?)([./_\d]|$)/i.test(name));
  if (grads.length > 0 && grads.length >= entries.length / 2) {
    found.push({
      kind: 'gradient',
      weight: 2,
      reason: `Its tensors are called "${grads[0]?.name ?? ''}" and the like.`,
    });
  }
  const hint = NAME_HINTS.find(([pattern]) => pattern.test(basename(path)));
  if (hint) {
    found.push({ kind: hint[1], weight: 1, reason: `Its name, "${basename(path)}", suggests ${hint[2]}.` });
  }
  return found;
}

function byValues(file: TensorFile): Evidence[] {
  const small = file.entries.filter(
    (entry) => isFloating(entry.dtype) && elementCount(entry.shape) <= MOST_ELEMENTS && elementCount(entry.shape) > 0,
  );
  const found: Evidence[] = [];
  const variance = small.find(({ name }) => RUNNING_VARIANCE.test(name));
  if (variance && read(file, variance).some((value) => value < 0)) {
    found.push({
      kind: 'delta',
      weight: 12,
      reason: `"${variance.name}" has negative entries, which a variance cannot have: a difference of two states.`,
    });
  }
  const norm = small.find(({ name, shape }) => shape.length === 1 && NORM_WEIGHT.test(name));
  if (norm) {
    const values = read(file, norm);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    found.push(
      mean > 0.2
        ? {
            kind: 'checkpoint',
            weight: 2,
            reason: `"${norm.name}" averages ${mean.toPrecision(2)}, as normalisation weights do and gradients do not.`,
          }
        : {
            kind: 'gradient',
            weight: 1,
            reason: `"${norm.name}" averages ${mean.toPrecision(2)}; normalisation weights are near 1.`,
          },
    );
  }
  const balanced = small.slice(-MOST_LOOKED_AT).findLast((entry) => isBalanced(file, entry));
  if (balanced) {
    found.push({
      kind: 'gradient',
      weight: 3,
      reason: `"${balanced.name}" sums to zero along its classes, as the gradient of a softmax head does.`,
    });
    const matrix = small.findLast((entry) => entry.shape.length === 2 && isBalanced(file, entry));
    const { rank, most } = matrix ? rankOf(asMatrix(matrix, read(file, matrix))) : { rank: 0, most: 0 };
    // Weights that began at zero sum to zero as well, which costs them one rank and no more.
    if (matrix && rank > 0 && rank < most - 1) {
      found.push({
        kind: 'gradient',
        weight: 3,
        reason: `"${matrix.name}" has rank ${rank} of ${most}, as the gradient of few samples has.`,
      });
    }
  } else if (file.entries.length > 1 && small.some(({ shape }) => shape.length === 1)) {
    found.push({
      kind: 'checkpoint',
      weight: 0.5,
      reason: 'No small tensor sums to zero as the gradient of a softmax head does.',
    });
  }
  return found;
}

function read(file: TensorFile, { name }: TensorEntry): Float64Array {
  try {
    return file.read(name).data;
  } catch {
    // A tensor that cannot be read says nothing about the file; its row in the table says why.
    return new Float64Array(0);
  }
}

function asMatrix({ shape }: TensorEntry, data: Float64Array): MatrixView {
  const [rows = 1] = shape;
  return { rows, columns: data.length / rows, data };
}

/** A bias gradient, or the columns of a small head's gradient, sum to zero: probabilities and labels both sum to one. */
function isBalanced(file: TensorFile, entry: TensorEntry): boolean {
  const { shape } = entry;
  if (shape.length > 2 || elementCount(shape) < 2) {
    return false;
  }
  const values = read(file, entry);
  const rows = shape[0] ?? 1;
  const columns = values.length / rows;
  let sums = 0;
  let sizes = 0;
  for (let column = 0; column < columns; column++) {
    let sum = 0;
    let size = 0;
    for (let row = 0; row < rows; row++) {
      sum += values[row * columns + column] ?? 0;
      size += Math.abs(values[row * columns + column] ?? 0);
    }
    sums += Math.abs(sum);
    sizes += size;
  }
  // float32 rounding of a few hundred terms; half precision is let through by name only.
  return sizes > 0 && sums / sizes < 1e-5;
}
