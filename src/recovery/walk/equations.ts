import type { ProductKernel } from '../../graph/product-kernel.js';
import { factorise, inverseLower } from '../cholesky.js';
import { transposed } from '../linear-algebra.js';
import type { Pause } from '../pause.js';
import { joined, most, norm } from '../vectors.js';
import {
  type KnownDelta,
  type Row,
  type Rows,
  designOf,
  equationsOf,
  median,
  perEquation,
  scaledColumns,
} from './conv-equations.js';
import { type GivenEntries, solveNonNegative } from './non-negative-input.js';
import { CLEAN, MOST_REWEIGHTINGS, OUTLYING, Reweighting, isChecked } from './reweighting.js';
import type { ToldEntries } from './sum-entries.js';

/**
 * The input of convolutions whose deltas are known, from their weight gradients:
 * G[o, c, k] = sum over samples b and positions p of delta[b, o, p] a[b, c, stride p + k - pad]
 * is linear in a, with the same matrix for every input channel c. No published source for residual networks; R-CONV
 * (arXiv 2406.04227) does it for plain ones.
 */

export interface SolvedInput {
  /** batch x channels x rows x columns */
  readonly values: Float64Array;
  /** Standard errors, of the same shape. */
  readonly error: Float64Array;
  /** Of the same shape, 1 where nothing is known of an entry, as where no delta sees it; undefined when all are known. */
  readonly unknown: Uint8Array | undefined;
  /** Null where only the values' signs make the solution a single one; then some entries may have none, which are unknown. */
  readonly condition: number | null;
  /** Median over output channels of what is left of their gradient, relative. */
  readonly residual: number;
  readonly unknowns: number;
  readonly equations: number;
  /** For each layer, its output channels that stood out and were left out. */
  readonly outlying: readonly (readonly number[])[];
}

/** Above this, float32 gradients leave nothing. */
const MOST_CONDITION = 1e6;
/** Larger systems do not fit in memory or time. */
const MOST_UNKNOWNS = 3200;

/** Whether there are equations, and not more unknowns than are solved for. */
export function isSolvable(known: readonly KnownDelta[], batch: number): boolean {
  const [, height, width] = known[0]!.place.input;
  return batch * height * width <= MOST_UNKNOWNS && known.some(({ delta }) => delta.some((own) => own !== 0));
}

/** For values that are never negative. */
export interface NonNegativeInput {
  /** What is known of them otherwise. */
  readonly told: ToldEntries | undefined;
  readonly pause: Pause;
}

/**
 * Robust least squares, {@link Reweighting}.
 *
 * @param error relative error of the gradients' numbers
 * @param rectified where the equations do not suffice, their signs may
 * @returns a sentence where the equations do not suffice
 */
export async function solveInput(
  known: readonly KnownDelta[],
  batch: number,
  error: number,
  product: ProductKernel,
  rectified?: NonNegativeInput,
): Promise<SolvedInput | string> {
  const [channels, height, width] = known[0]!.place.input;
  const groups = Math.max(...known.map(({ place }) => place.geometry.groups));
  const plane = height * width;
  const unknowns = batch * plane;
  if (unknowns > MOST_UNKNOWNS) {
    return `${unknowns} unknowns for each channel are more than the ${MOST_UNKNOWNS} that are solved for`;
  }
  const each = channels / groups;
  const values = new Float64Array(batch * channels * plane);
  const errors = new Float64Array(values.length);
  const unknown = new Uint8Array(values.length);
  const outlying = known.map(() => new Set<number>());
  let condition: number | null = 0;
  let residual = 0;
  let equations = 0;
  for (let group = 0; group < groups; group++) {
    const rows = equationsOf(known, group * each, each);
    const whole = designOf(rows, known, batch);
    const solved = await solvePart(rows, whole, known, each, error, product);
    const bySigns =
      typeof solved === 'string' && rectified
        ? await solvePartBySigns(rows, whole, rectified, { batch, first: group * each, each, channels, error }, product)
        : undefined;
    const part = bySigns ?? solved;
    if (typeof part === 'string') {
      return part;
    }
    condition = condition === null || part.condition === null ? null : Math.max(condition, part.condition);
    residual = Math.max(residual, part.residual);
    equations = Math.max(equations, part.equations);
    part.outlying.forEach((row) => outlying[row.source]!.add(row.channel));
    for (let b = 0; b < batch; b++) {
      for (let c = 0; c < each; c++) {
        const to = (b * channels + group * each + c) * plane;
        const from = c * unknowns + b * plane;
        values.set(part.values.subarray(from, from + plane), to);
        errors.set(part.error.subarray(from, from + plane), to);
        unknown.set(part.unknown.subarray(from, from + plane), to);
      }
    }
  }
  return {
    values,
    error: errors,
    unknown: unknown.includes(1) ? unknown : undefined,
    condition,
    residual,
    unknowns,
    equations,
    outlying: outlying.map((own) => [...own].sort((one, other) => one - other)),
  };
}

/** Of a group's channels: arrays are channels x unknowns. */
interface SolvedPart {
  readonly values: Float64Array;
  /** Standard errors. */
  readonly error: Float64Array;
  /** 1 where nothing is known. */
  readonly unknown: Uint8Array;
  readonly condition: number | null;
  readonly residual: number;
  readonly equations: number;
  readonly outlying: readonly Row[];
}

interface System {
  /** unknowns x count */
  readonly design: Float64Array;
  /** count x unknowns */
  readonly transpose: Float64Array;
  /** channels x count */
  readonly right: Float64Array;
  readonly unknowns: number;
  readonly count: number;
  readonly channels: number;
}

interface PartPlace {
  readonly batch: number;
  /** Of all input channels, the group's first. */
  readonly first: number;
  /** Channels of the group. */
  readonly each: number;
  readonly channels: number;
  readonly error: number;
}

async function solvePartBySigns(
  rows: Rows,
  design: Float64Array,
  { told, pause }: NonNegativeInput,
  { batch, first, each, channels, error }: PartPlace,
  product: ProductKernel,
): Promise<SolvedPart | undefined> {
  if (rows.count === 0) {
    return undefined;
  }
  const unknowns = design.length / rows.count;
  const plane = unknowns / batch;
  const given: GivenEntries | undefined = told && {
    values: new Float64Array(each * unknowns),
    isGiven: new Uint8Array(each * unknowns),
    deviation: new Float64Array(each * unknowns),
  };
  for (let b = 0; told && given && b < batch; b++) {
    for (let c = 0; c < each; c++) {
      const from = (b * channels + first + c) * plane;
      const to = c * unknowns + b * plane;
      given.values.set(told.values.subarray(from, from + plane), to);
      given.isGiven.set(told.isGiven.subarray(from, from + plane), to);
      for (let at = 0; at < plane; at++) {
        given.deviation[to + at] = told.isGiven[from + at] === 1 ? told.deviation(from + at) : 0;
      }
    }
  }
  const found = await solveNonNegative({ rows, design, channels: each, given, error }, product, pause);
  return found && { ...found, error: found.deviation, condition: null };
}

async function solvePart(
  rows: Rows,
  whole: Float64Array,
  known: readonly KnownDelta[],
  channels: number,
  error: number,
  product: ProductKernel,
): Promise<SolvedPart | string> {
  const { count, right } = rows;
  const all = whole.length / count;
  const seen = Uint8Array.from({ length: all }, (_, at) =>
    Number(whole.subarray(at * count, (at + 1) * count).some((own) => own !== 0)),
  );
  const design = seen.includes(0) ? joined(rowsOf(whole, seen)) : whole;
  const unknowns = design.length / count;
  if (!(unknowns > 0)) {
    return 'no equations, as every delta is zero';
  }
  if (count < unknowns) {
    return `${count} equations for ${unknowns} unknowns of each channel`;
  }
  const system = { design, transpose: transposed(design, unknowns, count), right, unknowns, count, channels };
  const reweighting = new Reweighting(error);
  const certain = Float64Array.from(rows.rows, ({ source, channel }) =>
    known[source]!.doubtful.has(channel) ? DOUBT : 1,
  );
  const certainEquations = rows.rows.reduce((sum, { taps }, at) => sum + (certain[at] === 1 ? taps : 0), 0);
  let weights: Float64Array = certainEquations > 1.2 * unknowns ? certain : new Float64Array(certain.length).fill(1);
  let kept: Float64Array = weights;
  let unchanged = 0;
  for (let iteration = 0; iteration < MOST_REWEIGHTINGS && unchanged < 2; iteration++) {
    const fit = await leastSquares(system, perEquation(rows, weights), product, false);
    const condition = iteration === 0 ? conditionOf(fit) : 0;
    if (!(condition <= MOST_CONDITION)) {
      return `equations of condition ${condition.toExponential(0)}`;
    }
    const off = residualsOf(rows, fit.off, channels);
    const middle = median(off);
    const next = reweighting.kept(off, middle);
    if (middle < CLEAN && most(off) < OUTLYING * middle) {
      kept = next;
      break;
    }
    unchanged = middle < CLEAN && next.every((own, at) => own === kept[at]) ? unchanged + 1 : 0;
    kept = next;
    weights = reweighting.next(off, middle);
  }
  const isDoubtful = certain.map((own) => Number(own !== 1));
  const used = await withoutUnchecked(rows, system, kept, isDoubtful, product);
  const equations = rows.rows.reduce((sum, { taps }, at) => sum + used[at]! * taps, 0);
  if (equations < unknowns) {
    const which = used.every((own, at) => own === kept[at])
      ? 'without contradiction'
      : 'that others would contradict if they were wrong,';
    return `${equations} equations ${which} for ${unknowns} unknowns of each channel`;
  }
  const usedEquations = perEquation(rows, used);
  const fit = await leastSquares(system, usedEquations, product, true);
  const condition = conditionOf(fit);
  if (!(condition <= MOST_CONDITION)) {
    return `equations of condition ${condition.toExponential(0)}`;
  }
  const clean = residualsOf(rows, fit.off, channels).filter((_, at) => used[at] === 1);
  const deviation = placed(fit.deviation, seen, 1);
  const sigma = sigmasOf(system, fit.off, usedEquations, equations);
  return {
    values: placed(fit.values, seen, channels),
    error: Float64Array.from(
      { length: channels * all },
      (_, at) => deviation[at % all]! * sigma[Math.floor(at / all)]!,
    ),
    unknown: Uint8Array.from({ length: channels * all }, (_, at) => 1 - seen[at % all]!),
    condition,
    residual: median(clean),
    equations,
    outlying: rows.rows.filter((_, at) => kept[at] === 0),
  };
}

/**
 * Leaves out doubtful output channels that too few equations would contradict, {@link isChecked}: those first that fewest
 * would, as the others lose what these checked.
 *
 * @param kept of each output channel, 1 where it is used
 * @param isDoubtful the same, 1 where its delta may be wrong
 */
async function withoutUnchecked(
  rows: Rows,
  { design, transpose, unknowns, count, channels }: System,
  kept: Float64Array,
  isDoubtful: Float64Array,
  product: ProductKernel,
): Promise<Float64Array> {
  const used = kept.slice();
  for (;;) {
    const doubtful = [...used.keys()].filter((row) => used[row] === 1 && isDoubtful[row] === 1);
    if (doubtful.length === 0) {
      return used;
    }
    const weighted = scaledColumns(design, perEquation(rows, used));
    const factor = await factorise(await product(weighted, weighted, unknowns, unknowns, count), unknowns, product);
    const { inverse } = await inverseLower(factor);
    const unchecked: { row: number; checks: number }[] = [];
    for (const row of doubtful) {
      const { first, taps } = rows.rows[row]!;
      const equations = transpose.subarray(first * unknowns, (first + taps) * unknowns);
      const leverage = norm(await product(equations, inverse, taps, unknowns, unknowns)) ** 2;
      const checks = channels * (taps - leverage);
      if (!isChecked(checks, channels * taps, ENOUGH_CHECKS)) {
        unchecked.push({ row, checks });
      }
    }
    if (unchecked.length === 0) {
      return used;
    }
    unchecked.sort((one, other) => one.checks - other.checks);
    unchecked.slice(0, Math.ceil(unchecked.length / LEAVING)).forEach(({ row }) => (used[row] = 0));
  }
}

/** The rows of a matrix that are wanted. */
function rowsOf(matrix: Float64Array, wanted: Uint8Array): Float64Array[] {
  const cols = matrix.length / wanted.length;
  return [...wanted.keys()].flatMap((at) => (wanted[at] === 1 ? [matrix.subarray(at * cols, (at + 1) * cols)] : []));
}

/** Values at the unknowns that they are of, zero elsewhere: sets x unknowns. */
function placed(values: Float64Array, seen: Uint8Array, sets: number): Float64Array {
  const out = new Float64Array(sets * seen.length);
  let from = 0;
  for (let at = 0; at < out.length; at++) {
    if (seen[at % seen.length] === 1) {
      out[at] = values[from++]!;
    }
  }
  return out;
}

/** A wrong delta is visible to this share of its square at least; rounding is a ten-millionth. */
const ENOUGH_CHECKS = 0.5;
/** Of the output channels that nothing checks, one in so many leaves at a time. */
const LEAVING = 4;

/** Weight of doubtful channels at first. */
const DOUBT = 1e-3;

interface Fit {
  /** Of the normal matrix. */
  readonly diagonal: Float64Array;
  /** Square roots of its inverse's diagonal. */
  readonly deviation: Float64Array;
  /** channels x unknowns */
  readonly values: Float64Array;
  /** What is left of the right sides: channels x count. */
  readonly off: Float64Array;
}

/**
 * @param weights of each equation
 * @param refined whether to solve once more for what rounding left
 */
async function leastSquares(
  { design, transpose, right, unknowns, count, channels }: System,
  weights: Float64Array,
  product: ProductKernel,
  refined: boolean,
): Promise<Fit> {
  const weighted = scaledColumns(design, weights);
  const normal = await product(weighted, weighted, unknowns, unknowns, count);
  const diagonal = Float64Array.from({ length: unknowns }, (_, at) => normal[at * unknowns + at]!);
  const { inverse, columns } = await inverseLower(await factorise(normal, unknowns, product));
  const solve = async (sides: Float64Array): Promise<Float64Array> => {
    const projected = await product(scaledColumns(sides, weights), weighted, channels, unknowns, count);
    const half = await product(projected, inverse, channels, unknowns, unknowns);
    return product(half, columns, channels, unknowns, unknowns);
  };
  const leave = async (values: Float64Array): Promise<Float64Array> => {
    const off = await product(values, transpose, channels, count, unknowns);
    for (let at = 0; at < off.length; at++) {
      off[at] = right[at]! - off[at]!;
    }
    return off;
  };
  const values = await solve(right);
  let off = await leave(values);
  if (refined) {
    const correction = await solve(off);
    for (let at = 0; at < values.length; at++) {
      values[at]! += correction[at]!;
    }
    off = await leave(values);
  }
  const deviation = Float64Array.from({ length: unknowns }, (_, at) =>
    norm(columns.subarray(at * unknowns, (at + 1) * unknowns)),
  );
  return { diagonal, deviation, values, off };
}

/** Root mean square of what is left for each output channel. */
function residualsOf({ rows, count }: Rows, off: Float64Array, channels: number): Float64Array {
  return Float64Array.from(rows, ({ first, taps }) => {
    let sum = 0;
    for (let c = 0; c < channels; c++) {
      for (let at = c * count + first; at < c * count + first + taps; at++) {
        sum += off[at]! ** 2;
      }
    }
    return Math.sqrt(sum / (channels * taps));
  });
}

/** A bound from below on the condition number, columns being of length one. */
function conditionOf({ diagonal, deviation }: Fit): number {
  return deviation.reduce((most, own, at) => Math.max(most, own * Math.sqrt(diagonal[at]!)), 0);
}

function sigmasOf(
  { channels, count, unknowns }: System,
  off: Float64Array,
  weights: Float64Array,
  equations: number,
): Float64Array {
  return Float64Array.from({ length: channels }, (_, c) => {
    let sum = 0;
    for (let at = 0; at < count; at++) {
      sum += (weights[at]! * off[c * count + at]!) ** 2;
    }
    return Math.sqrt(sum / Math.max(1, equations - unknowns));
  });
}
