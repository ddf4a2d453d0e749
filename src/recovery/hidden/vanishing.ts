import { type Cholesky, factoriseSmall, solveLower, solveUpper } from '../cholesky.js';
import type { Matrix } from '../linear-algebra.js';
import { addSquare } from '../sparse-direction.js';
import { dot, dotAt, norm, scaled } from '../vectors.js';

/** The mixture of a matrix's columns that is nearest to zero on some of its rows, and whether those rows leave no other. */
export interface Vanishing {
  /** As many numbers as columns, of length one. */
  readonly mixture: Float64Array;
  /** Root mean square of what it leaves on the rows. */
  readonly left: number;
  /** Rows on which the next mixture, at right angles to it, is far from zero. Those that two samples share leave only a few, by chance, against mixtures of them. */
  readonly against: number;
}

const INVERSE_STEPS = 6;
/** In units of what the nearest mixture leaves. */
const FAR = 10;

/** @param rows indices, at least one */
export function vanishingOn(rows: readonly number[], { data, cols }: Matrix): Vanishing {
  const gram = new Float64Array(cols * cols);
  for (const row of rows) {
    addSquare(gram, cols, data, row * cols, 1);
  }
  const factor = factoriseSmall(gram, cols);
  const mixture = smallest(factor, undefined);
  const values = (own: Float64Array): number[] => rows.map((row) => dotAt(data, row * cols, own, cols));
  const left = Math.sqrt(values(mixture).reduce((sum, value) => sum + value ** 2, 0) / rows.length);
  if (cols === 1) {
    return { mixture, left, against: Infinity };
  }
  const others = values(smallest(factor, mixture));
  return { mixture, left, against: others.filter((own) => Math.abs(own) > FAR * left).length };
}

/** By inverse iteration. @param without what it is at right angles to */
function smallest(factor: Cholesky, without: Float64Array | undefined): Float64Array {
  let own: Float64Array = Float64Array.from({ length: factor.size }, (_, at) => 1 + ((at * 0.618) % 1));
  for (let step = 0; step < INVERSE_STEPS; step++) {
    own = solveUpper(factor, solveLower(factor, scaled(own, 1 / norm(own))));
    if (without) {
      const share = dot(own, without);
      own = own.map((value, at) => value - share * without[at]!);
    }
  }
  return scaled(own, 1 / norm(own));
}
