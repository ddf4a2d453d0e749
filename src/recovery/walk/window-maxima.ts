import type { ProductKernel } from '../../graph/product-kernel.js';
import { type Cholesky, factorise, solveLower, solveUpper } from '../cholesky.js';
import type { Pause } from '../pause.js';
import { norm } from '../vectors.js';
import type { ConvPlace } from './conv-place.js';
import { type Rows, designOf, equationsOf, median, perEquation, scaledColumns } from './conv-equations.js';
import { patchesOf } from './deltas.js';

/**
 * Which entry of each window of a max pooling was the largest, when what comes down to the windows and their largest
 * values are known, and the input of the convolution below is not.
 *
 * The weight gradient is bilinear in that input and in each window's shares of its delta, which are zero but for one.
 * Both are found in turn: the input from the shares by least squares over all output channels, then each channel's
 * shares from its own gradient, with what the input gives out forward as what is expected of them. Equal shares to
 * begin with are enough. No published source.
 */

/** A convolution whose output goes to a max pooling, entry by entry but for rectifiers and a factor per channel. */
export interface PooledConv {
  readonly place: ConvPlace;
  readonly batch: number;
  /** windows x perWindow: positions in the convolution's output, -1 for those beyond its edge. */
  readonly candidates: Int32Array;
  readonly perWindow: number;
  /** dL/d(the convolution's output) where a window's largest entry is: batch x filters x windows; 0 where it was cut. */
  readonly delta: Float64Array;
  /** The largest entries, of the same shape, in the units of `forward`; looked at where delta is not zero. */
  readonly largest: Float64Array;
  /** What the pooling sees of an input, rectifiers left out: batch x filters x rows x columns. */
  forward(input: Float64Array): Promise<Float64Array>;
  /** Whether the input cannot be negative. */
  readonly rectified: boolean;
  /** An input that is roughly right, of an image found elsewhere: shares begin at what it gives out. Equal ones where undefined. */
  readonly begin?: Float64Array | undefined;
}

export interface MaximaPlan {
  /** Rounds before what the input gives out forward is listened to. */
  readonly flatRounds: number;
  /** The round from which channels that fit better count more. */
  readonly weightedFrom: number;
}

export interface ToldMaxima {
  /** Positions in the convolution's output, batch x filters x windows; -1 where nothing comes down. */
  readonly winners: Int32Array;
  /** Median over output channels of what is left of their gradient, relative. */
  readonly residual: number;
  /** Share of windows without a clear largest entry. */
  readonly uncertain: number;
}

/** Each round solves for every position of an output channel. */
const MOST_POSITIONS = 1100;
/** Equations for each unknown: fewer leave room for windows that are told wrong. */
const LEAST_SURPLUS = 1.2;
const MOST_ROUNDS = 70;
/** Rounds that bring nothing before it is given up. */
const MOST_IDLE = 15;
/** Less than this is progress. */
const PROGRESS = 0.97;
/** Of the normal matrix's diagonal, where nothing is explained yet. */
const RIDGE = 1e-3;
/** What a channel must leave at most for its windows to be told. */
const EXPLAINED = 3e-4;
/** A share as large as this is the window's largest entry. */
const CERTAIN = 0.9;
/** Windows that may be uncertain: the equations' own repairs tell them. */
const MOST_UNCERTAIN = 0.002;
/** However sure the forward values are, the gradient may say otherwise by this much: variance of a share. */
const LEAST_VARIANCE = 1e-3;

/**
 * @param pause called in every round with the residual so far
 * @returns a sentence where there are too few equations, or too many positions
 */
export async function tellMaxima(
  pooled: PooledConv,
  plan: MaximaPlan,
  product: ProductKernel,
  pause: Pause<number>,
): Promise<ToldMaxima | string> {
  const { place, batch } = pooled;
  const positions = batch * place.output[0] * place.output[1];
  if (place.geometry.groups !== 1 || positions > MOST_POSITIONS) {
    return `a maximum is told below up to ${MOST_POSITIONS} positions of one group, not ${positions} of ${place.geometry.groups}`;
  }
  const unknowns = batch * place.input[1] * place.input[2];
  const search = new MaximaSearch(pooled, unknowns, product);
  const count = search.equationCount();
  if (count < LEAST_SURPLUS * unknowns) {
    return `${count} equations for ${unknowns} unknowns of each channel do not tell the maxima above`;
  }
  let best = Infinity;
  let idle = 0;
  let residual = 1;
  if (pooled.begin) {
    await search.beginAt(pooled.begin);
  }
  for (let round = 0; round < MOST_ROUNDS && idle < MOST_IDLE; round++) {
    await pause(residual);
    residual = await search.round(round < plan.flatRounds, round > plan.weightedFrom);
    if (residual < EXPLAINED || search.uncertain() < MOST_UNCERTAIN) {
      break;
    }
    idle = residual < PROGRESS * best ? 0 : idle + 1;
    best = Math.min(best, residual);
  }
  return { winners: search.winners(), residual, uncertain: search.uncertain() };
}

class MaximaSearch {
  private readonly shares: Float64Array;
  /** Equal shares of all entries of a window. */
  private readonly flat: Float64Array;
  private readonly plane: number;
  private readonly windows: number;
  /** For each output channel, its windows that something comes down to, as indices of (sample, window). */
  private readonly live: readonly (readonly number[])[];
  /** How much each output channel counts. */
  private readonly weights: Float64Array;
  private residual = 1;

  constructor(
    private readonly pooled: PooledConv,
    private readonly unknowns: number,
    private readonly product: ProductKernel,
  ) {
    const { place, batch, candidates, perWindow, delta } = pooled;
    this.plane = place.output[0] * place.output[1];
    this.windows = candidates.length / perWindow;
    this.weights = new Float64Array(place.filters).fill(1);
    this.live = Array.from({ length: place.filters }, (_, o) =>
      Array.from({ length: batch * this.windows }, (_own, at) => at).filter((at) => delta[this.windowAt(o, at)] !== 0),
    );
    this.flat = new Float64Array(delta.length * perWindow);
    for (let at = 0; at < delta.length; at++) {
      const own = candidates.subarray((at % this.windows) * perWindow, ((at % this.windows) + 1) * perWindow);
      const inside = own.filter((position) => position >= 0).length;
      own.forEach((position, which) => {
        this.flat[at * perWindow + which] = position < 0 ? 0 : 1 / inside;
      });
    }
    this.shares = this.flat.slice();
  }

  equationCount(): number {
    return this.equations().count;
  }

  async beginAt(input: Float64Array): Promise<void> {
    this.shares.set(await this.expectedShares(input));
  }

  /** Alternates once. @returns the median over channels of what is left */
  async round(flat: boolean, weighted: boolean): Promise<number> {
    const input = await this.inputFromShares();
    const expected = flat ? this.flat : await this.expectedShares(input);
    const off = await this.sharesFromInput(input, expected);
    const live = off.filter((own) => own >= 0);
    this.residual = median(live);
    if (weighted) {
      off.forEach((own, o) => {
        this.weights[o] = own < 0 ? 1 : this.residual / Math.max(own, this.residual / 10);
      });
    }
    return this.residual;
  }

  /** The share of windows without a clear largest entry. */
  uncertain(): number {
    let unclear = 0;
    let count = 0;
    this.eachLive((at) => {
      count++;
      unclear += Number(Math.max(...this.sharesOf(at)) < CERTAIN);
    });
    return unclear / Math.max(1, count);
  }

  winners(): Int32Array {
    const { candidates, perWindow, delta } = this.pooled;
    const out = new Int32Array(delta.length).fill(-1);
    this.eachLive((at) => {
      const own = this.sharesOf(at);
      out[at] = candidates[(at % this.windows) * perWindow + own.indexOf(Math.max(...own))]!;
    });
    return out;
  }

  private eachLive(visit: (at: number) => void): void {
    this.live.forEach((own, o) => {
      own.forEach((at) => visit(this.windowAt(o, at)));
    });
  }

  /** Index into delta of an output channel's window; `at` counts samples, then windows. */
  private windowAt(o: number, at: number): number {
    const sample = Math.floor(at / this.windows);
    return (sample * this.pooled.place.filters + o) * this.windows + (at % this.windows);
  }

  private sharesOf(at: number): Float64Array {
    return this.shares.subarray(at * this.pooled.perWindow, (at + 1) * this.pooled.perWindow);
  }

  private spread(): Float64Array {
    const { place, batch, candidates, perWindow, delta } = this.pooled;
    const out = new Float64Array(batch * place.filters * this.plane);
    this.eachLive((at) => {
      const first = Math.floor(at / this.windows) * this.plane;
      this.sharesOf(at).forEach((share, which) => {
        const position = candidates[(at % this.windows) * perWindow + which]!;
        if (position >= 0) {
          out[first + position]! += share * delta[at]!;
        }
      });
    });
    return out;
  }

  private equations(): Rows {
    const known = [{ place: this.pooled.place, delta: this.spread(), doubtful: new Set<number>() }];
    return equationsOf(known, 0, this.pooled.place.input[0]);
  }

  /** Least squares over all output channels, the same matrix for each input channel. */
  private async inputFromShares(): Promise<Float64Array> {
    const { place, batch, rectified } = this.pooled;
    const { unknowns, product } = this;
    const known = [{ place, delta: this.spread(), doubtful: new Set<number>() }];
    const channels = place.input[0];
    const rows = equationsOf(known, 0, channels);
    const weights = perEquation(
      rows,
      Float64Array.from(rows.rows, ({ channel }) => this.weights[channel]!),
    );
    const design = scaledColumns(designOf(rows, known, batch), weights);
    const normal = await product(design, design, unknowns, unknowns, rows.count);
    let trace = 0;
    for (let at = 0; at < unknowns; at++) {
      trace += normal[at * unknowns + at]!;
    }
    const ridge = (RIDGE * Math.min(1, 10 * this.residual ** 2) * trace) / unknowns;
    for (let at = 0; at < unknowns; at++) {
      normal[at * unknowns + at]! += ridge;
    }
    const factor = await factorise(normal, unknowns, product);
    const right = await product(scaledColumns(rows.right, weights), design, channels, unknowns, rows.count);
    const pixels = unknowns / batch;
    const values = new Float64Array(channels * unknowns);
    for (let c = 0; c < channels; c++) {
      const own = solved(factor, right.subarray(c * unknowns, (c + 1) * unknowns));
      own.forEach((value, at) => {
        const sample = Math.floor(at / pixels);
        values[(sample * channels + c) * pixels + (at % pixels)] = rectified ? Math.max(0, value) : value;
      });
    }
    return values;
  }

  /**
   * How likely each entry is the window's largest, by what the input gives out forward: the largest is known, and the
   * others are not above it. How far forward values are off is what the largest of each window shows.
   */
  private async expectedShares(input: Float64Array): Promise<Float64Array> {
    const { candidates, perWindow, largest } = this.pooled;
    const forward = await this.pooled.forward(input);
    const seen = (at: number): number[] => {
      const first = Math.floor(at / this.windows) * this.plane;
      return Array.from({ length: perWindow }, (_, which) => {
        const position = candidates[(at % this.windows) * perWindow + which]!;
        return position < 0 ? -Infinity : forward[first + position]!;
      });
    };
    let sum = 0;
    let count = 0;
    this.eachLive((at) => {
      sum += (Math.max(...seen(at)) - largest[at]!) ** 2;
      count++;
    });
    const deviation = Math.max(Math.sqrt(sum / Math.max(1, count)), 1e-12);
    const out = new Float64Array(this.shares.length);
    this.eachLive((at) => {
      const off = seen(at).map((own) => (largest[at]! - own) / deviation);
      const below = off.map((own) => (own === Infinity ? 0 : -Math.log1p(Math.exp(-PROBIT * Math.max(own, -40)))));
      const all = below.reduce((total, own) => total + own, 0);
      const logs = off.map((own, which) => (own === Infinity ? -Infinity : all - below[which]! - own ** 2 / 2));
      const most = Math.max(...logs);
      const likely = logs.map((own) => Math.exp(own - most));
      const total = likely.reduce((one, other) => one + other, 0);
      likely.forEach((own, which) => {
        out[at * perWindow + which] = own / total;
      });
    });
    return out;
  }

  /**
   * Each channel's shares: those that explain its gradient, as far as they may be from what is expected.
   *
   * @returns what is left of each channel's gradient, relative; -1 for channels that nothing comes down to
   */
  private async sharesFromInput(input: Float64Array, expected: Float64Array): Promise<Float64Array> {
    const { place, batch, candidates, perWindow, delta } = this.pooled;
    const { product, plane } = this;
    const positions = batch * plane;
    const cols = place.gradient.length / place.filters;
    const patches = patchesOf(place, input, batch, 0);
    const gram = await product(patches, patches, positions, positions, cols);
    const projected = await product(place.gradient, patches, place.filters, positions, cols);
    const off = new Float64Array(place.filters).fill(-1);
    for (let o = 0; o < place.filters; o++) {
      const size = norm(place.gradient.subarray(o * cols, (o + 1) * cols)) ** 2;
      const entries = this.live[o]!.flatMap((own) => {
        const at = this.windowAt(o, own);
        const first = Math.floor(own / this.windows) * plane;
        return Array.from({ length: perWindow }, (_, which) => which).flatMap((which) => {
          const position = candidates[(at % this.windows) * perWindow + which]!;
          return position < 0 ? [] : [{ place: at * perWindow + which, position: first + position, delta: delta[at]! }];
        });
      });
      if (size === 0 || entries.length === 0) {
        continue;
      }
      const count = entries.length;
      const normal = new Float64Array(count * count);
      const right = Float64Array.from(entries, (own) => projected[o * positions + own.position]! * own.delta);
      entries.forEach((one, row) => {
        const from = one.position * positions;
        for (let col = 0; col < count; col++) {
          normal[row * count + col] = gram[from + entries[col]!.position]! * one.delta * entries[col]!.delta;
        }
      });
      const before = Float64Array.from(entries, (own) => expected[own.place]!);
      const image = imageOf(normal, before);
      const variance = Math.max(leftOf(size, right, before, image), 1e-12 * size) / cols;
      const step = right.map((own, at) => (own - image[at]!) / variance);
      const system = normal.map((own) => own / variance);
      before.forEach((share, at) => {
        system[at * count + at]! += 1 / Math.max(share * (1 - share), LEAST_VARIANCE);
      });
      solved(await factorise(system, count, product), step);
      entries.forEach((own, at) => {
        this.shares[own.place] = before[at]! + step[at]!;
      });
      for (const own of this.live[o]!) {
        const at = this.windowAt(o, own);
        const first = (at % this.windows) * perWindow;
        toSimplex(this.sharesOf(at), candidates.subarray(first, first + perWindow));
      }
      const after = Float64Array.from(entries, (own) => this.shares[own.place]!);
      off[o] = Math.sqrt(leftOf(size, right, after, imageOf(normal, after)) / size);
    }
    return off;
  }
}

/** The logistic function comes nearest to the normal distribution's with this factor. */
const PROBIT = 1.702;

function solved(factor: Cholesky, right: Float64Array): Float64Array {
  return solveUpper(factor, solveLower(factor, right));
}

function imageOf(matrix: Float64Array, x: Float64Array): Float64Array {
  const size = x.length;
  return Float64Array.from(x, (_, row) => {
    let sum = 0;
    for (let col = 0; col < size; col++) {
      sum += matrix[row * size + col]! * x[col]!;
    }
    return sum;
  });
}

/** ||g - P^T x||^2 from ||g||^2, P g and P P^T x. */
function leftOf(size: number, right: Float64Array, x: Float64Array, image: Float64Array): number {
  return Math.max(
    0,
    x.reduce((sum, own, at) => sum + own * (image[at]! - 2 * right[at]!), size),
  );
}

/** The nearest shares that are not negative and add up to one; entries beyond the edge have none. */
function toSimplex(shares: Float64Array, candidates: Int32Array): void {
  const inside = [...shares.keys()].filter((at) => candidates[at]! >= 0);
  const falling = inside.map((at) => shares[at]!).sort((one, other) => other - one);
  let sum = 0;
  let shift = 0;
  falling.forEach((own, at) => {
    sum += own;
    if (own > (sum - 1) / (at + 1)) {
      shift = (sum - 1) / (at + 1);
    }
  });
  for (const at of inside) {
    shares[at] = Math.max(0, shares[at]! - shift);
  }
}
