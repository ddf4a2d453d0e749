import type { ProductKernel } from '../../graph/product-kernel.js';
import { factoriseSmall, solveLower, solveUpper } from '../cholesky.js';
import type { Pause } from '../pause.js';
import { dot } from '../vectors.js';
import { nonNegative } from '../non-negative.js';
import type { PairOutputs } from './pair-outputs.js';

/**
 * Which pairs of token and position make a sequence with a given one.
 *
 * The output of a query is sum_j m_j e_j v_j / s head by head, with m_j = 1 for members, e_j = exp(q . k_j) and
 * s = sum_j m_j e_j. It has no part outside of the batch's space. If the few s were known, that would be linear in m:
 * least squares with m >= 0 and one member at each position. So the residual of these least squares is made small over
 * log s by Gauss-Newton steps (variable projection: Golub and Pereyra 1973, in the form of Kaufman 1975).
 */
export class Membership {
  private readonly queries: Query[] = [];
  private now: Evaluation;
  private damping = START_DAMPING;

  /**
   * @param pairs of which some are members, the first query among them
   * @param places position of each
   * @param place up to which there is one member at each position
   * @param shares of each, at the start
   */
  constructor(
    private readonly outputs: PairOutputs,
    private readonly pairs: readonly number[],
    private readonly places: readonly number[],
    private readonly place: number,
    shares: Float64Array,
    private readonly product: ProductKernel,
    private readonly pause: Pause,
  ) {
    this.now = { shares, square: Infinity, gram: new Float64Array(0), rows: [], parts: [] };
  }

  get shares(): Float64Array {
    return this.now.shares;
  }

  /** Takes a query's equations in, with the sums that the shares give now. */
  add(query: number): void {
    const attractions = this.outputs.attractions(query);
    const heads = attractions.length / this.outputs.count;
    const logs = Float64Array.from({ length: heads }, (_, head) => {
      let sum = 0;
      this.pairs.forEach((pair, at) => {
        sum += this.now.shares[at]! * attractions[head * this.outputs.count + pair]!;
      });
      return Math.log(sum);
    });
    this.queries.push({ attractions, logs });
    this.damping = START_DAMPING;
  }

  async improve(steps: number): Promise<void> {
    this.now = await this.evaluate(this.queries.map(({ logs }) => logs));
    for (let step = 0; step < steps && this.now.square > NOTHING && !this.outputs.work.isSpent; step++) {
      const before = this.now.square;
      if (!(await this.step()) || this.now.square > STALLED * before) {
        break;
      }
    }
  }

  private async step(): Promise<boolean> {
    const { matrix, slope } = this.normalEquations();
    for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
      await this.pause();
      const change = damped(matrix, slope, this.damping);
      let at = 0;
      const logs = this.queries.map(({ logs: own }) => own.map((value) => value + change[at++]!));
      const next = await this.evaluate(logs);
      if (next.square < this.now.square) {
        this.now = next;
        this.queries.forEach((query, index) => (query.logs = logs[index]!));
        this.damping /= EASING;
        return true;
      }
      this.damping = this.damping * EASING + SMALLEST_DAMPING;
    }
    return false;
  }

  private async evaluate(logs: readonly Float64Array[]): Promise<Evaluation> {
    const size = this.pairs.length;
    const { codimension } = this.outputs;
    const gram = new Float64Array(size * size);
    const rows: Float64Array[] = [];
    for (const [index, { attractions }] of this.queries.entries()) {
      const own = this.outputs.contributions(this.pairs, attractions, logs[index]!.map(Math.exp));
      const part = await this.product(own, own, size, size, codimension);
      part.forEach((value, at) => (gram[at]! += value));
      rows.push(own);
    }
    const right = new Float64Array(size);
    const weight = (PLACE_WEIGHT / (this.place + 1)) ** 2 * this.queries.length;
    this.places.forEach((position, row) => {
      if (position <= this.place) {
        right[row] = weight;
        this.places.forEach((other, col) => (gram[row * size + col]! += other === position ? weight : 0));
      }
    });
    // The first shares are only supposed, and none of them is zero.
    const start = this.now.gram.length > 0 ? this.now.shares : undefined;
    const { work } = this.outputs;
    const shares = await nonNegative(gram, right, start, async (multiplications) => {
      await this.pause();
      work.add(multiplications);
      return !work.isSpent;
    });
    const parts = this.queries.map(({ attractions }, index) =>
      this.outputs.headParts(this.pairs, shares, attractions, logs[index]!.map(Math.exp)),
    );
    let square = 0;
    for (const part of parts) {
      const sum = sumOf(part, codimension);
      square += dot(sum, sum);
    }
    for (let position = 0; position <= this.place; position++) {
      const sum = this.places.reduce((total, own, at) => total + (own === position ? shares[at]! : 0), 0);
      square += this.places.includes(position) ? weight * (sum - 1) ** 2 : 0;
    }
    return { shares, square, gram, rows, parts };
  }

  /** Of the residual's dependence on the logarithms, the shares following along. */
  private normalEquations(): { matrix: Float64Array; slope: Float64Array } {
    const { codimension } = this.outputs;
    const { shares, gram, rows, parts } = this.now;
    const active = [...shares.keys()].filter((at) => shares[at]! > 0);
    const own = new Float64Array(active.length ** 2);
    active.forEach((row, i) => {
      active.forEach((col, j) => (own[i * active.length + j] = gram[row * shares.length + col]!));
    });
    const factor = factoriseSmall(own, active.length);
    const heads = parts.map((part) => part.length / codimension);
    const size = heads.reduce((sum, count) => sum + count, 0);
    const slope = new Float64Array(size);
    const matrix = new Float64Array(size * size);
    this.outputs.work.add(active.length ** 3 / 6 + size * active.length * (active.length + codimension));
    const solved: Float64Array[] = [];
    let start = 0;
    parts.forEach((part, query) => {
      const sum = sumOf(part, codimension);
      const vectors = Array.from({ length: heads[query]! }, (_, head) =>
        part.subarray(head * codimension, (head + 1) * codimension),
      );
      vectors.forEach((vector, i) => {
        // A factor of s divides: the slopes have the other sign.
        slope[start + i] = -dot(vector, sum);
        vectors.forEach((other, j) => (matrix[(start + i) * size + start + j] = dot(vector, other)));
        const along = Float64Array.from(active, (at) =>
          dot(rows[query]!.subarray(at * codimension, (at + 1) * codimension), vector),
        );
        solved.push(solveLower(factor, along));
      });
      start += vectors.length;
    });
    solved.forEach((one, i) => {
      solved.forEach((other, j) => (matrix[i * size + j]! -= dot(one, other)));
    });
    withoutScale(matrix, heads, size);
    return { matrix, slope };
  }
}

interface Query {
  readonly attractions: Float64Array;
  /** Of the sums s, by head. */
  logs: Float64Array;
}

interface Evaluation {
  readonly shares: Float64Array;
  readonly square: number;
  readonly gram: Float64Array;
  /** By query: pairs x codimension. */
  readonly rows: readonly Float64Array[];
  /** By query: heads x codimension. */
  readonly parts: readonly Float64Array[];
}

/** Of the equations that there is one member at each position. */
const PLACE_WEIGHT = 3;
const START_DAMPING = 0.1;
const SMALLEST_DAMPING = 1e-6;
const EASING = 5;
const MOST_ATTEMPTS = 5;
/** A residual that needs no step any more. */
const NOTHING = 1e-12;
/** A step that leaves this share of the residual is the last. */
const STALLED = 0.999;
const LONGEST_STEP = 1.5;

function sumOf(part: Float64Array, codimension: number): Float64Array {
  const sum = new Float64Array(codimension);
  part.forEach((value, at) => (sum[at % codimension]! += value));
  return sum;
}

/** All sums of a query larger by one factor make the residual smaller, and mean nothing. */
function withoutScale(matrix: Float64Array, heads: readonly number[], size: number): void {
  let start = 0;
  for (const count of heads) {
    let trace = 0;
    for (let at = start; at < start + count; at++) {
      trace += matrix[at * size + at]!;
    }
    for (let row = start; row < start + count; row++) {
      for (let col = start; col < start + count; col++) {
        matrix[row * size + col]! += 100 * trace;
      }
    }
    start += count;
  }
}

function damped(matrix: Float64Array, slope: Float64Array, damping: number): Float64Array {
  const size = slope.length;
  const own = matrix.slice();
  for (let at = 0; at < size; at++) {
    own[at * size + at]! *= 1 + damping;
  }
  const factor = factoriseSmall(own, size);
  const change = solveUpper(
    factor,
    solveLower(
      factor,
      slope.map((value) => -value),
    ),
  );
  return change.map((value) => Math.max(-LONGEST_STEP, Math.min(LONGEST_STEP, value)));
}
