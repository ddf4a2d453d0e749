import { visitPatches } from '../../graph/patches.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import { factorise, solveLower, solveUpper } from '../cholesky.js';
import { transposed } from '../linear-algebra.js';
import type { Pause } from '../pause.js';
import { freePixels } from '../span/forward-span.js';
import { smallestEigen } from '../span/null-space.js';
import { norm } from '../vectors.js';
import type { ConvPlace } from './conv-place.js';
import { patchesOf } from './deltas.js';

/**
 * The input a of a convolution z = W a whose output is normalised in train mode, where dL/d(normalised output) is known.
 * With zhat = (z - mean) / sigma and N positions of all samples, for each output channel o,
 *
 *   (sigma / gamma) dL/dz = delta - dbeta / N - zhat dgamma / N,     G[o] = sum over p of dL/dz[o, p] patch_p(a),
 *
 * where dbeta and dgamma are in the dump. For a given zhat that is linear and homogeneous in a and sigma; zhat counts
 * little, and follows from a. No published source.
 */

export interface NormalisedProblem {
  readonly place: ConvPlace;
  /** As long as the weight gradient. */
  readonly weight: Float64Array;
  readonly batch: number;
  /** dL/d(normalised output): batch x filters x positions. */
  readonly delta: Float64Array;
  /** Output channels whose delta may be wrong somewhere: left out where enough others are there. */
  readonly doubtful: ReadonlySet<number>;
  /** Of each output channel. */
  readonly norm: NormGradient;
  /** Relative error of the gradient's numbers. */
  readonly error: number;
}

export interface NormGradient {
  readonly gamma: Float64Array;
  readonly dGamma: Float64Array;
  readonly dBeta: Float64Array;
}

export interface NormalisedInput {
  /** batch x channels x rows x columns, up to a factor */
  readonly values: Float64Array;
  /** dL/dz, batch x filters x positions, for the input being of the size that `values` are. */
  readonly delta: Float64Array;
  /** (z - mean) / sigma, batch x filters x positions. */
  readonly normal: Float64Array;
  /** sigma / gamma of each filter that goes with `values`; zero for dead channels. */
  readonly spread: Float64Array;
  /** Median over output channels of what is left of their gradient, relative. */
  readonly residual: number;
  /** Output channels whose delta was wrong somewhere, and left out. */
  readonly outlying: readonly number[];
  /** Next smallest eigenvalue over the smallest: how clearly there is one solution. */
  readonly gap: number;
  readonly equations: number;
  readonly unknowns: number;
}

const MOST_ROUNDS = 40;
/** Larger systems do not fit in memory or time. */
const MOST_UNKNOWNS = 3200;
/** Equations of the strongest channels for each unknown. */
const EQUATIONS_EACH = 4.5;
const FEWEST_EQUATIONS = 1200;
/** Equations for each unknown that are enough to do without doubtful channels. */
const FEWEST_EACH = 1.5;
/** Output channels below this share of the largest are rounding, or dead. */
const DEAD = 1e-5;
/** Change of the normalised output, relative, that ends the iteration. */
const SETTLED = 3e-8;
/** Channels this many times the median off have a wrong delta. */
const OUTLYING = 10;
/** The same where wrong channels bias the solution, which shows by a residual of this many times the numbers' error. */
const WORST = 3;
const BIASED = 100;
/** Change of the normalised output, relative, from which on residuals show what is wrong. */
const SETTLING = 3e-3;
/** Equations for each unknown that are left in any case. */
const FEWEST_KEPT = 1.2;

/**
 * @returns a sentence where the equations do not suffice, or contradict each other
 */
export async function normalisedInput(
  { place, weight, batch, delta: given, doubtful, norm: { gamma, dGamma, dBeta }, error }: NormalisedProblem,
  product: ProductKernel,
  random: () => number,
  pause: Pause,
): Promise<NormalisedInput | string> {
  const { filters, gradient, input, kernel, output } = place;
  if (freePixels(place).length > 0) {
    return 'constants on pixels that no padding shows stay open';
  }
  const columns = input[0] * kernel[0] * kernel[1];
  const taps = kernel[0] * kernel[1];
  const positions = batch * output[0] * output[1];
  const unknowns = batch * input[1] * input[2];
  if (unknowns > MOST_UNKNOWNS) {
    return `${unknowns} unknowns for each channel are more than the ${MOST_UNKNOWNS} that are solved for`;
  }
  const delta = channelsFirst(given, batch, filters);
  const sizes = Float64Array.from({ length: filters }, (_, o) =>
    norm(gradient.subarray(o * columns, (o + 1) * columns)),
  );
  const largest = sizes.reduce((most, own) => Math.max(most, own), 0);
  const alive = Array.from({ length: filters }, (_, o) => o).filter(
    (o) => sizes[o]! > DEAD * largest && norm(delta.subarray(o * positions, (o + 1) * positions)) > 0,
  );
  const certain = alive.filter((o) => !doubtful.has(o));
  const live = (certain.length * taps >= FEWEST_EACH * unknowns ? certain : alive)
    .sort((one, other) => sizes[other]! - sizes[one]!)
    .slice(0, Math.ceil(Math.max(FEWEST_EQUATIONS, EQUATIONS_EACH * unknowns) / taps))
    .sort((one, other) => one - other);
  if (live.length * taps < unknowns + live.length) {
    return `${live.length * taps} equations for ${unknowns} unknowns of each channel`;
  }
  const centred = delta.map((own, at) => own - dBeta[Math.floor(at / positions)]! / positions);
  const normal = new Float64Array(filters * positions);
  let system: System | undefined;
  let kept = live;
  let values: Float64Array = new Float64Array(0);
  let last = Infinity;
  for (let round = 0; round < MOST_ROUNDS; round++) {
    await pause();
    const open = centred.map((own, at) => own - (normal[at]! * dGamma[Math.floor(at / positions)]!) / positions);
    const solved = await System.of(place, batch, open, kept, sizes, gamma, product, random, pause);
    if (typeof solved === 'string') {
      return solved;
    }
    system = solved;
    ({ values } = solved);
    const z = await convolved(place, weight, batchFirst(values, batch, input[0]), batch, product);
    let changed = 0;
    let size = 0;
    for (let o = 0; o < filters; o++) {
      const own = z.subarray(o * positions, (o + 1) * positions);
      const mean = own.reduce((sum, value) => sum + value, 0) / positions;
      const sigma = Math.sqrt(own.reduce((sum, value) => sum + (value - mean) ** 2, 0) / positions);
      for (let p = 0; p < positions; p++) {
        const next = sigma > 0 ? (own[p]! - mean) / sigma : 0;
        changed += (next - normal[o * positions + p]!) ** 2;
        size += next ** 2;
        normal[o * positions + p] = next;
      }
    }
    changed = Math.sqrt(changed / size);
    const isSettling = changed < SETTLING;
    // A few wrong channels bias the whole solution: then none is an outlier by much, and the largest residuals go first.
    const isBiased = isSettling && system.residual > BIASED * error;
    const most = system.residual * (isBiased ? WORST : OUTLYING);
    const limit = Math.max(isBiased ? Math.min(most, solved.largest) : most, OUTLYING * 5 * error);
    const next = kept.filter((o) => solved.residualOf(o) < limit);
    const isSame = next.length === kept.length;
    if (changed < SETTLED || (isSame && changed < 1e-5 && changed > 0.5 * last)) {
      break;
    }
    last = changed;
    if (system.residual < 0.1 && next.length * taps >= FEWEST_KEPT * unknowns) {
      kept = next;
    }
  }
  const gammaOf = (o: number): number => gamma[o]!;
  const spread = new Float64Array(filters);
  const z = await convolved(place, weight, batchFirst(values, batch, input[0]), batch, product);
  const found = new Float64Array(filters * positions);
  for (let o = 0; o < filters; o++) {
    const own = z.subarray(o * positions, (o + 1) * positions);
    const mean = own.reduce((sum, value) => sum + value, 0) / positions;
    const sigma = Math.sqrt(own.reduce((sum, value) => sum + (value - mean) ** 2, 0) / positions);
    spread[o] = sigma / gammaOf(o);
    for (let at = o * positions; at < (o + 1) * positions; at++) {
      found[at] = (centred[at]! - (normal[at]! * dGamma[o]!) / positions) / spread[o]!;
    }
  }
  return {
    values: batchFirst(values, batch, input[0]),
    delta: batchFirst(found, batch, filters),
    normal: batchFirst(normal, batch, filters),
    spread,
    residual: system!.residual,
    outlying: live.filter((o) => !kept.includes(o)),
    gap: system!.gap,
    equations: kept.length * taps,
    unknowns,
  };
}

/**
 * What a convolution gives out.
 *
 * @param weight as long as the weight gradient
 * @param values batch x channels x rows x columns
 * @returns filters x (batch, positions)
 */
export async function convolved(
  place: ConvPlace,
  weight: Float64Array,
  values: Float64Array,
  batch: number,
  product: ProductKernel,
): Promise<Float64Array> {
  const columns = place.input[0] * place.kernel[0] * place.kernel[1];
  const positions = batch * place.output[0] * place.output[1];
  return product(weight, patchesOf(place, values, batch, 0), place.filters, positions, columns);
}

/** batch x channels x plane, to channels x batch x plane. */
function channelsFirst(values: Float64Array, batch: number, channels: number): Float64Array {
  return exchanged(values, batch, channels);
}

function batchFirst(values: Float64Array, batch: number, channels: number): Float64Array {
  return exchanged(values, channels, batch);
}

/** The first two axes of first x second x plane exchanged. */
function exchanged(values: Float64Array, first: number, second: number): Float64Array {
  if (first === 1 || second === 1) {
    return values;
  }
  const plane = values.length / (first * second);
  const out = new Float64Array(values.length);
  for (let i = 0; i < first; i++) {
    for (let j = 0; j < second; j++) {
      out.set(values.subarray((i * second + j) * plane, (i * second + j + 1) * plane), (j * first + i) * plane);
    }
  }
  return out;
}

/** A a_c = s_o G[o, c] for every channel c, with one unknown s_o for each output channel: the best a and s. */
class System {
  private constructor(
    readonly values: Float64Array,
    readonly residual: number,
    readonly residuals: Float64Array,
    readonly gap: number,
    private readonly byFilter: ReadonlyMap<number, number>,
  ) {}

  /** Of the channels' residuals. */
  get largest(): number {
    return this.residuals.reduce((most, own) => Math.max(most, own), 0);
  }

  residualOf(filter: number): number {
    return this.byFilter.get(filter) ?? Infinity;
  }

  static async of(
    place: ConvPlace,
    batch: number,
    open: Float64Array,
    kept: readonly number[],
    sizes: Float64Array,
    gamma: Float64Array,
    product: ProductKernel,
    random: () => number,
    pause: Pause,
  ): Promise<System | string> {
    const [channels, height, width] = place.input;
    const taps = place.kernel[0] * place.kernel[1];
    const each = place.output[0] * place.output[1];
    const positions = batch * each;
    const plane = batch * height * width;
    const count = kept.length * taps;
    const lengths = kept.map((o) => norm(open.subarray(o * positions, (o + 1) * positions)));
    const design = new Float64Array(plane * count);
    const right = new Float64Array(count * channels);
    kept.forEach((o, at) => {
      visitPatches({ ...place, input: [1, height, width] }, (tap, position, pixel) => {
        for (let b = 0; b < batch; b++) {
          const row = (b * height * width + pixel) * count;
          design[row + at * taps + tap] = open[o * positions + b * each + position]! / lengths[at]!;
        }
      });
      for (let c = 0; c < channels; c++) {
        for (let k = 0; k < taps; k++) {
          right[(at * taps + k) * channels + c] = place.gradient[(o * channels + c) * taps + k]! / sizes[o]!;
        }
      }
    });
    const normal = await product(design, design, plane, plane, count);
    const diagonal = Float64Array.from({ length: plane }, (_, at) => normal[at * plane + at]!);
    const factor = await factorise(normal, plane, product);
    for (let at = 0; at < plane; at++) {
      if (!(factor.lower[at * plane + at]! > 1e-6 * Math.sqrt(diagonal[at]!))) {
        return 'equations of condition above 1e6';
      }
    }
    await pause();
    // Rows of H: L^-1 applied to each equation, so that H H^T projects onto what any input explains.
    const half = transposed(design, plane, count);
    for (let row = 0; row < count; row++) {
      solveLower(factor, half.subarray(row * plane, (row + 1) * plane));
    }
    const inside = await product(half, half, count, count, plane);
    const alike = await product(right, right, count, count, channels);
    const size = kept.length;
    const matrix = new Float64Array(size * size);
    for (let one = 0; one < count; one++) {
      const to = Math.floor(one / taps) * size;
      for (let other = 0; other < count; other++) {
        const projection = (one === other ? 1 : 0) - inside[one * count + other]!;
        matrix[to + Math.floor(other / taps)]! += alike[one * count + other]! * projection;
      }
    }
    await pause();
    const { values: eigenvalues, vectors } = await smallestEigen(matrix, size, 2, product, random, pause);
    const sides = new Float64Array(channels * count);
    const [scale] = vectors;
    for (let c = 0; c < channels; c++) {
      for (let at = 0; at < count; at++) {
        sides[c * count + at] = right[at * channels + c]! * scale![Math.floor(at / taps)]!;
      }
    }
    const values = await product(sides, design, channels, plane, count);
    for (let c = 0; c < channels; c++) {
      const own = values.subarray(c * plane, (c + 1) * plane);
      solveUpper(factor, solveLower(factor, own));
    }
    const turned = transposed(design, plane, count);
    const explained = await product(values, turned, channels, count, plane);
    const residuals = new Float64Array(size);
    const parts = new Float64Array(size);
    for (let c = 0; c < channels; c++) {
      for (let at = 0; at < count; at++) {
        residuals[Math.floor(at / taps)]! += (explained[c * count + at]! - sides[c * count + at]!) ** 2;
        parts[Math.floor(at / taps)]! += explained[c * count + at]! ** 2;
      }
    }
    const relative = residuals.map((own, at) => Math.sqrt(own / Math.max(parts[at]!, Number.MIN_VALUE)));
    // Deviations are positive, so s has gamma's sign; the size is one that the constant added to variances is small for.
    const sign = Math.sign(kept.reduce((sum, o, at) => sum + Math.sign(gamma[o]!) * scale![at]!, 0)) || 1;
    const unit = (sign * norm(values)) / Math.sqrt(values.length) || 1;
    return new System(
      values.map((own) => own / unit),
      relative.slice().sort()[size >> 1]!,
      relative,
      Math.abs(eigenvalues[1]! / (eigenvalues[0]! || Number.MIN_VALUE)),
      new Map(kept.map((o, at) => [o, relative[at]!])),
    );
  }
}
