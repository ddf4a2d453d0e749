import { type Cholesky, solveUpper } from '../cholesky.js';
import { type Matrix, multiplyTransposed } from '../linear-algebra.js';
import type { Pause } from '../pause.js';
import { FROM_NEAR, sparseDirection } from '../sparse-direction.js';
import { dot, norm, scaled } from '../vectors.js';
import type { FactoredLayer, Found } from './factored-layer.js';
import { inverseOf } from './mixtures.js';
import { MORE_ROWS } from './sample-search.js';

/** Which inputs are as exact as their slopes: the units that an input leaves silent bear a rough one too. */

/** Others that an input is compared with, at least. */
const FEWEST_TO_SETTLE = 2;
const POLISHINGS = 2;

/**
 * Where all are there, slopes and inputs are dual to each other, which settles both. Where samples are missing, inputs rest on zeros
 * alone, which neighbouring entries of smooth pictures share. Each is searched again, from where it is, among all mixtures: that
 * it comes to be at right angles to the slopes of all others, which took no part, chance would not do.
 *
 * @param bounds what no entry of an input is below, n numbers each
 * @param pause between steps of a search
 * @returns those that were found, told which are settled
 */
export async function settleSamples(
  layer: FactoredLayer,
  found: readonly Found[],
  bounds: readonly Float64Array[],
  pause: Pause,
): Promise<readonly Found[]> {
  const dual = found.length === layer.rank ? (polished(layer, found) ?? selfDual(layer, found)) : undefined;
  if (dual) {
    return dual;
  }
  const settled: Found[] = [];
  for (const own of found) {
    const isSettled = found.length > FEWEST_TO_SETTLE && (await comesBack(layer, own, found, bounds, pause));
    settled.push({ ...own, isSettled });
  }
  return settled;
}

async function comesBack(
  layer: FactoredLayer,
  own: Found,
  found: readonly Found[],
  bounds: readonly Float64Array[],
  pause: Pause,
): Promise<boolean> {
  const { rank, rightAngle: near } = layer;
  const whole = Array.from({ length: rank }, (_, at) =>
    Float64Array.from({ length: rank }, (__, other) => Number(at === other)),
  );
  for (const bound of bounds) {
    const bounded = layer.rowsAbove(bound, whole, MORE_ROWS);
    if (!bounded) {
      continue;
    }
    const start = multiplyTransposed(lowerOf(bounded.factor), own.input);
    const direction = await sparseDirection(bounded.rows.data, rank, start, FROM_NEAR, pause);
    const input = solveUpper(bounded.factor, direction);
    const length = norm(input);
    const isSame = Math.abs(Math.abs(dot(input, own.input)) / (length * norm(own.input)) - 1) < near;
    const isRight = ({ slopes }: Found): boolean => Math.abs(dot(input, slopes)) < near * length;
    if (isSame && !isRight(own) && found.every((other) => other === own || isRight(other))) {
      return true;
    }
  }
  return false;
}

/** Inputs from slopes: more exact than zeros told them. Undefined where they are not all confirmed then. */
function polished(layer: FactoredLayer, found: readonly Found[]): readonly Found[] | undefined {
  let own: readonly Found[] | undefined;
  for (let round = 0; round < POLISHINGS; round++) {
    const before = own ?? found;
    const duals = inverseOf(before.map(({ slopes }) => slopes)) ?? [];
    const settled = duals.flatMap((dual, at) => {
      const one = layer.inputOf(dual).at(-1)!;
      return one === 0 ? [] : [{ ...before[at]!, input: scaled(dual, 1 / one), isSettled: true }];
    });
    const told = confirmedAll(layer, settled);
    if (!told) {
      break;
    }
    own = told;
  }
  return own;
}

/** Inputs that are right as they are: each one's slopes, as all others' inputs leave no choice of them, vanish where it is silent. */
function selfDual(layer: FactoredLayer, found: readonly Found[]): readonly Found[] | undefined {
  return confirmedAll(
    layer,
    found.map((own) => ({ ...own, isSettled: true })),
  );
}

function confirmedAll(layer: FactoredLayer, settled: readonly Found[]): readonly Found[] | undefined {
  const told = settled.flatMap((own) => layer.toldAgain(own, settled) ?? []);
  return told.length === layer.rank
    ? told.map(({ found, told: { mixture } }) => ({ ...found, slopes: mixture }))
    : undefined;
}

/** L of a factorisation, whose upper triangle holds what it was of. */
function lowerOf({ size, lower }: Cholesky): Matrix {
  const data = lower.map((own, at) => (at % size <= Math.floor(at / size) ? own : 0));
  return { rows: size, cols: size, data };
}
