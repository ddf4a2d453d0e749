import { GrowingCholesky } from './growing-cholesky.js';

/** A pull below this share of the largest is none. */
const TOLERANCE = 1e-11;
/** Variables that pull less than this share of what pulls most wait for the next round. */
const TOGETHER = 0.5;
/** Pivots below this share of their diagonal entry: what those freed with it span already; they wait for the next round. */
const LEAST_PIVOT = 1e-9;

/**
 * The x >= 0 that makes x^T A x / 2 - b^T x least (Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23);
 * several variables are freed at once, as the way to the least with all of them never goes up.
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
  const free = new GrowingCholesky(a, size);
  if (start) {
    const count = x.reduce((sum, value) => sum + Number(value > 0), 0);
    if (!(await mayGoOn(count ** 3 / 6))) {
      return x;
    }
    x.forEach((value, at) => {
      if (value > 0) {
        free.append(at);
      }
    });
    await descend(b, x, free, mayGoOn);
  }
  const limit = TOLERANCE * b.reduce((top, value) => Math.max(top, Math.abs(value)), 0);
  for (let step = 0; step < 3 * size; step++) {
    const goesOn = await mayGoOn(size * free.variables.length);
    const entering = goesOn ? steepest(a, b, x, free, limit) : [];
    if (entering.length === 0) {
      break;
    }
    for (const [at, variable] of entering.entries()) {
      if (!(await mayGoOn(free.variables.length ** 2 / 2))) {
        return x;
      }
      const pivot = free.append(variable);
      if (at > 0 && pivot < LEAST_PIVOT) {
        free.remove(free.variables.length - 1);
      }
    }
    await descend(b, x, free, mayGoOn);
  }
  return x;
}

/** The bound variables that pull most, that which does first; none when none does. */
function steepest(a: Float64Array, b: Float64Array, x: Float64Array, free: GrowingCholesky, limit: number): number[] {
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
  for (const at of free.variables) {
    pulls[at] = 0;
  }
  const most = pulls.reduce((top, own) => Math.max(top, own), limit);
  const least = Math.max(limit, TOGETHER * most);
  return [...pulls.keys()].filter((at) => pulls[at]! > least).sort((one, other) => pulls[other]! - pulls[one]!);
}

/** Solves for the free variables; those that would become negative are bound on the way there. */
async function descend(
  b: Float64Array,
  x: Float64Array,
  free: GrowingCholesky,
  mayGoOn: (multiplications: number) => Promise<boolean>,
): Promise<void> {
  // Each round binds at least one variable.
  for (let isDone = false; !isDone;) {
    if (!(await mayGoOn(2 * free.variables.length ** 2))) {
      return;
    }
    const goal = free.solve(b);
    let share = 1;
    let first = -1;
    free.variables.forEach((at, own) => {
      const reach = goal[own]! <= 0 ? x[at]! / (x[at]! - goal[own]!) : 1;
      if (reach < share || (goal[own]! <= 0 && first < 0)) {
        share = Number.isFinite(reach) ? reach : 0;
        first = at;
      }
    });
    const bound: number[] = [];
    free.variables.forEach((at, own) => {
      x[at]! += share * (goal[own]! - x[at]!);
      if (at === first || (goal[own]! <= 0 && x[at]! <= 0)) {
        x[at] = 0;
        bound.push(own);
      }
    });
    bound.reverse();
    for (const place of bound) {
      if (!(await mayGoOn(2 * (free.variables.length - place) ** 2))) {
        return;
      }
      free.remove(place);
    }
    isDone = first < 0;
  }
}
