import { type Cholesky, RANK_TOLERANCE } from './cholesky.js';

/**
 * L L^T of a principal submatrix that changes by one variable at a time, in k^2 multiplications each (Golub and Van Loan,
 * Matrix Computations, section 6.5.4).
 */
export class GrowingCholesky {
  /** Rows of L; row i holds i + 1 numbers, or more that are out of date. */
  private readonly rows: Float64Array[] = [];
  private readonly own: number[] = [];

  /** @param matrix size x size, symmetric positive semi-definite, row-major */
  constructor(
    private readonly matrix: Float64Array,
    private readonly size: number,
  ) {}

  /** Variables of the submatrix, in the order of its rows. */
  get variables(): readonly number[] {
    return this.own;
  }

  /**
   * A direction that the others span already gets a pivot of the size of rounding.
   *
   * @returns the pivot's square, relative to the diagonal entry
   */
  append(variable: number): number {
    const line = variable * this.size;
    const count = this.own.length;
    const row = new Float64Array(count + 1);
    for (let at = 0; at < count; at++) {
      row[at] = this.matrix[line + this.own[at]!]!;
    }
    this.whitened(row);
    const diagonal = this.matrix[line + variable]!;
    let pivot = diagonal;
    for (let at = 0; at < count; at++) {
      pivot -= row[at]! ** 2;
    }
    row[count] = Math.sqrt(Math.max(pivot, RANK_TOLERANCE * diagonal, Number.MIN_VALUE));
    this.rows.push(row);
    this.own.push(variable);
    return pivot / diagonal;
  }

  /** @param place in {@link variables} */
  remove(place: number): void {
    this.rows.splice(place, 1);
    this.own.splice(place, 1);
    const count = this.rows.length;
    for (let at = place; at < count; at++) {
      // Row `at` was one below, and has one number too many: a rotation of two columns takes it away.
      const row = this.rows[at]!;
      const length = Math.hypot(row[at]!, row[at + 1]!);
      const cosine = row[at]! / length;
      const sine = row[at + 1]! / length;
      row[at] = length;
      for (let below = at + 1; below < count; below++) {
        const other = this.rows[below]!;
        const [one, next] = [other[at]!, other[at + 1]!];
        other[at] = cosine * one + sine * next;
        other[at + 1] = cosine * next - sine * one;
      }
    }
  }

  /** x of A x = b for the submatrix, from all variables' b; in the order of {@link variables}. */
  solve(b: Float64Array): Float64Array {
    const x = this.whitened(Float64Array.from(this.own, (variable) => b[variable]!));
    for (let row = x.length - 1; row >= 0; row--) {
      const own = this.rows[row]!;
      const value = x[row]! / own[row]!;
      x[row] = value;
      for (let at = 0; at < row; at++) {
        x[at]! -= value * own[at]!;
      }
    }
    return x;
  }

  /** L^-1 b in place, for b in the order of {@link variables}; numbers behind them stay. */
  whitened(b: Float64Array): Float64Array {
    for (const [row, own] of this.rows.entries()) {
      let even = b[row]!;
      let odd = 0;
      const whole = row - (row % 2);
      for (let at = 0; at < whole; at += 2) {
        even -= own[at]! * b[at]!;
        odd -= own[at + 1]! * b[at + 1]!;
      }
      if (whole < row) {
        even -= own[whole]! * b[whole]!;
      }
      b[row] = (even + odd) / own[row]!;
    }
    return b;
  }

  /** As it is now, in the order of {@link variables}. */
  factor(): Cholesky {
    const size = this.own.length;
    const lower = new Float64Array(size * size);
    // A row may hold numbers behind its pivot that are out of date.
    this.rows.forEach((row, at) => lower.set(row.subarray(0, at + 1), at * size));
    return { size, lower, deficiency: 0 };
  }
}
