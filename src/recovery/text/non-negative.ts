import { factoriseSmall, solveLower, solveUpper } from '../cholesky.js';

/** A pull below this share of the largest is none. */
const TOLERANCE = 1e-11;

/**
 * The x >= 0 that makes x^T A x / 2 - b^T x least (Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23).
 *
 * @param a size x size, symmetric positive semi-definite, row-major
 * @param b size numbers
 * @param start an x >= 0 that is near, where one is known
 * @param mayGoOn is told of multiplications before they are done; the x reached is returned where they may not
 */
export async function nonNegative(
  a: Float64Array,
  b: Float64Array,
  start: Float64Array | undefined,
  mayGoOn: (multiplications: number) => Promise<boolean>,
): Promise<Float64Array> {
  const size = b.length;
  const x = start?.slice() ?? new Float64Array(size);
  const isFree = Uint8Array.from(x, (value) => Number(value > 0));
  if (start) {
    await descend(a, b, x, isFree, mayGoOn);
  }
  const limit = TOLERANCE * b.reduce((top, value) => Math.max(top, Math.abs(value)), 0);
  for (let step = 0; step < 3 * size; step++) {
    const entering = (await mayGoOn(size ** 2)) ? steepest(a, b, x, isFree, limit) : -1;
    if (entering < 0) {
      break;
    }
    isFree[entering] = 1;
    await descend(a, b, x, isFree, mayGoOn);
  }
  return x;
}

/** The bound variable that pulls most; -1 when none does. */
function steepest(a: Float64Array, b: Float64Array, x: Float64Array, isFree: Uint8Array, limit: number): number {
  const size = b.length;
  const pulls = b.slice();
  for (let col = 0; col < size; col++) {
    const value = x[col]!;
    if (value !== 0) {
      for (let row = 0; row < size; row++) {
        pulls[row]! -= value * a[col * size + row]!;
      }
    }
  }
  let best = -1;
  let most = limit;
  for (let at = 0; at < size; at++) {
    if (!isFree[at] && pulls[at]! > most) {
      most = pulls[at]!;
      best = at;
    }
  }
  return best;
}

/** Solves for the free variables; those that would become negative are bound on the way there. */
async function descend(
  a: Float64Array,
  b: Float64Array,
  x: Float64Array,
  isFree: Uint8Array,
  mayGoOn: (multiplications: number) => Promise<boolean>,
): Promise<void> {
  // Each round binds at least one variable.
  for (let isDone = false; !isDone;) {
    const free = [...isFree.keys()].filter((at) => isFree[at]);
    if (!(await mayGoOn(free.length ** 3 / 6 + 2 * free.length ** 2))) {
      return;
    }
    const goal = solved(a, b, free);
    let share = 1;
    let first = -1;
    free.forEach((at, own) => {
      const reach = goal[own]! <= 0 ? x[at]! / (x[at]! - goal[own]!) : 1;
      if (reach < share || (goal[own]! <= 0 && first < 0)) {
        share = Number.isFinite(reach) ? reach : 0;
        first = at;
      }
    });
    free.forEach((at, own) => {
      x[at]! += share * (goal[own]! - x[at]!);
      if (at === first || (goal[own]! <= 0 && x[at]! <= 0)) {
        x[at] = 0;
        isFree[at] = 0;
      }
    });
    isDone = first < 0;
  }
}

function solved(a: Float64Array, b: Float64Array, free: readonly number[]): Float64Array {
  const count = free.length;
  const own = new Float64Array(count * count);
  for (let row = 0; row < count; row++) {
    for (let col = 0; col <= row; col++) {
      own[row * count + col] = a[free[row]! * b.length + free[col]!]!;
    }
  }
  const factor = factoriseSmall(own, count);
  return solveUpper(
    factor,
    solveLower(
      factor,
      Float64Array.from(free, (at) => b[at]!),
    ),
  );
}
