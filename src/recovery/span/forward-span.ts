import { type PatchGeometry, visitPatches } from '../../graph/patches.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import { transposed } from '../linear-algebra.js';
import type { Pause } from '../pause.js';
import { dot, norm, withoutShares } from '../vectors.js';
import type { RowSpace } from './row-space.js';

/**
 * Inputs of a convolution below batch normalisation in train mode, from its weight gradient and from what it gives out.
 * Differences of one sample's patches lie in the gradient's row space; so do those of any mixture of a batch's inputs.
 * Strides leave shifts of the input by whole strides that the row space alone does not tell apart; on the entries that
 * the rectifier above lets pass, the output is an affine function of what the convolution gave out, channel by channel,
 * which does, and which no mixture fulfils. No published source.
 */

export interface ForwardSpanProblem extends PatchGeometry {
  /** Of the weight gradient, output channels x (input channels, kernel rows, kernel columns). */
  readonly rowSpace: RowSpace;
  readonly filters: number;
  /** What the convolution's output is known to look like, one sample; undefined where it is not. */
  readonly above: ForwardKnowledge | undefined;
  /** How many independent inputs there are: one where `above` is known, else one for each sample. */
  readonly dimension: number;
}

export interface ForwardKnowledge {
  /** The convolution's own weights, as long as its gradient. */
  readonly weight: Float64Array;
  /** Output of the rectifier above, up to a factor: filters x rows x columns; exact zeros where it cut. */
  readonly values: Float64Array;
}

export interface ForwardSpan {
  /**
   * Orthonormal, `dimension` of them; what is looked for is a combination of them, up to a constant on the pixels of each
   * `free` group in each channel.
   */
  readonly maps: readonly Float64Array[];
  /** Pixels (of a channel) that a common constant can be added to without any patch difference showing it. */
  readonly free: readonly (readonly number[])[];
  /** What the equations leave of a map, relative. */
  readonly residual: number;
  /** How far from the maps found lies what another start leads to, relative. */
  readonly disagreement: number;
}

const MOST_ITERATIONS = 1500;
/** The last start only has to show that there is no other solution. */
const TOLERANCE = 1e-10;
const ROUGH = 1e-7;
/** Starts that lead this near to each other show fewer solutions than there should be. */
const DEPENDENT = 1e-6;
/** Output channels with fewer values that were let pass say nothing beyond their affine function. */
const FEWEST_VALUES = 4;

/**
 * The solutions of a homogeneous system, as what conjugate gradients leave of starts that have a share of them.
 *
 * @param product lets other work run, and throws CancelledError once the user has asked to stop
 * @returns a sentence where there are fewer solutions
 */
export async function forwardSpan(
  problem: ForwardSpanProblem,
  product: ProductKernel,
  random: () => number,
  pause: Pause,
): Promise<ForwardSpan | string> {
  const system = new System(problem, product);
  const pixels = problem.input[0] * problem.input[1] * problem.input[2];
  const maps: Float64Array[] = [];
  let residual = 0;
  for (let at = 0; at < problem.dimension; at++) {
    // A rectifier's output is positive, so the first start has a large share of it.
    const start = Float64Array.from({ length: pixels }, () => (at === 0 ? 0.5 : -0.5) + random());
    const found = await nullPart(system, start, TOLERANCE, pause);
    const rest = withoutShares(found, maps);
    const length = norm(rest);
    if (!(length > DEPENDENT * norm(found))) {
      return `its equations have fewer solutions than ${problem.dimension} samples`;
    }
    const map = rest.map((value) => value / length);
    maps.push(map);
    residual = Math.max(residual, Math.sqrt(Math.max(dot(await system.apply(map), map), 0)));
  }
  const other = await nullPart(
    system,
    Float64Array.from({ length: pixels }, () => random() - 0.5),
    ROUGH,
    pause,
  );
  return { maps, free: system.free, residual, disagreement: norm(withoutShares(other, maps)) / norm(other) };
}

/** The part of a start that lies in a positive semi-definite operator's null space. */
async function nullPart(system: System, start: Float64Array, tolerance: number, pause: Pause): Promise<Float64Array> {
  const out = start.slice();
  const rest = await system.apply(start);
  let direction = rest.slice();
  let square = dot(rest, rest);
  const enough = tolerance ** 2 * square;
  for (let iteration = 0; iteration < MOST_ITERATIONS && square > enough; iteration++) {
    await pause();
    const applied = await system.apply(direction);
    const curvature = dot(direction, applied);
    if (!(curvature > 0)) {
      break;
    }
    const alpha = square / curvature;
    for (let at = 0; at < out.length; at++) {
      out[at]! -= alpha * direction[at]!;
      rest[at]! -= alpha * applied[at]!;
    }
    const next = dot(rest, rest);
    const beta = next / square;
    square = next;
    direction = direction.map((value, at) => rest[at]! + beta * value);
  }
  return out;
}

/** a -> sum over conditions of their squares' slope: A^T A for the conditions A a = 0. */
class System {
  readonly free: readonly (readonly number[])[];
  private readonly columns: number;
  private readonly positions: number;
  /** rank x columns and its transpose. */
  private readonly basisTurned: Float64Array;
  /** Filters of length one, with enough values above them: rows x columns, and its transpose. */
  private readonly filters: Float64Array;
  private readonly filtersTurned: Float64Array;
  private readonly rows: readonly ForwardRow[];

  constructor(
    private readonly problem: ForwardSpanProblem,
    private readonly product: ProductKernel,
  ) {
    const { input, kernel, output, above, rowSpace } = problem;
    this.columns = input[0] * kernel[0] * kernel[1];
    this.positions = output[0] * output[1];
    this.basisTurned = transposed(rowSpace.basis, rowSpace.rank, this.columns);
    this.rows = Array.from({ length: above ? problem.filters : 0 }, (_, o) =>
      forwardRow(o, above!.values.subarray(o * this.positions, (o + 1) * this.positions)),
    ).flatMap((row) => row ?? []);
    this.filters = new Float64Array(this.rows.length * this.columns);
    this.rows.forEach(({ filter }, at) => {
      const own = above!.weight.subarray(filter * this.columns, (filter + 1) * this.columns);
      const length = norm(own) || 1;
      this.filters.set(
        own.map((value) => value / length),
        at * this.columns,
      );
    });
    this.filtersTurned = transposed(this.filters, this.rows.length, this.columns);
    this.free = freePixels(problem);
  }

  async apply(a: Float64Array): Promise<Float64Array> {
    const { columns, positions, product } = this;
    const { rowSpace } = this.problem;
    const patches = new Float64Array(positions * columns);
    visitPatches(this.problem, (column, position, pixel) => {
      patches[position * columns + column] = a[pixel]!;
    });
    const back = this.rows.length > 0 ? await this.forwardPart(patches) : new Float64Array(patches.length);
    const centred = patches;
    subtractMeans(centred, positions, columns);
    const coefficients = await product(centred, rowSpace.basis, positions, rowSpace.rank, columns);
    const inside = await product(coefficients, this.basisTurned, positions, columns, rowSpace.rank);
    for (let at = 0; at < centred.length; at++) {
      centred[at]! -= inside[at]!;
    }
    subtractMeans(centred, positions, columns);
    const out = new Float64Array(a.length);
    visitPatches(this.problem, (column, position, pixel) => {
      out[pixel]! += centred[position * columns + column]! + back[position * columns + column]!;
    });
    const plane = this.problem.input[1] * this.problem.input[2];
    for (const pixels of this.free) {
      for (let c = 0; c < this.problem.input[0]; c++) {
        const mean = pixels.reduce((sum, pixel) => sum + a[c * plane + pixel]!, 0) / pixels.length;
        pixels.forEach((pixel) => {
          out[c * plane + pixel]! += mean;
        });
      }
    }
    return out;
  }

  private async forwardPart(patches: Float64Array): Promise<Float64Array> {
    const { columns, positions, product } = this;
    const given = await product(this.filters, patches, this.rows.length, positions, columns);
    this.rows.forEach(({ keepUnexplained }, at) => {
      keepUnexplained(given.subarray(at * positions, (at + 1) * positions));
    });
    const turned = transposed(given, this.rows.length, positions);
    return product(turned, this.filtersTurned, positions, columns, this.rows.length);
  }
}

/** Of one output channel: what of its values the affine function of the values above does not explain. */
interface ForwardRow {
  readonly filter: number;
  /** Leaves of values (one per position) what lies outside of the constants and the values above, zero where cut. */
  readonly keepUnexplained: (values: Float64Array) => void;
}

function forwardRow(filter: number, above: Float64Array): ForwardRow | undefined {
  const passed = above.reduce((sum, own) => sum + Number(own > 0), 0);
  if (passed < FEWEST_VALUES) {
    return undefined;
  }
  const constant = above.map((own) => (own > 0 ? 1 / Math.sqrt(passed) : 0));
  const share = dot(constant, above);
  const shape = above.map((own, at) => own - share * constant[at]!);
  const length = norm(shape);
  if (!(length > 0)) {
    return undefined;
  }
  const slope = shape.map((own) => own / length);
  return {
    filter,
    keepUnexplained: (values) => {
      for (let at = 0; at < values.length; at++) {
        if (above[at] === 0) {
          values[at] = 0;
        }
      }
      const first = dot(constant, values);
      const second = dot(slope, values);
      for (let at = 0; at < values.length; at++) {
        values[at]! -= first * constant[at]! + second * slope[at]!;
      }
    },
  };
}

function subtractMeans(patches: Float64Array, positions: number, columns: number): void {
  const mean = new Float64Array(columns);
  for (let at = 0; at < patches.length; at++) {
    mean[at % columns]! += patches[at]! / positions;
  }
  for (let at = 0; at < patches.length; at++) {
    patches[at]! -= mean[at % columns]!;
  }
}

/** Groups of pixels that the same kernel offsets see at every position, so that padding never shows their constant. */
export function freePixels(geometry: PatchGeometry): number[][] {
  const taps = geometry.kernel[0] * geometry.kernel[1];
  const positions = geometry.output[0] * geometry.output[1];
  const group = Array.from({ length: taps }, (_, tap) => tap);
  const root = (tap: number): number => {
    let own = tap;
    while (group[own] !== own) {
      own = group[own]!;
    }
    return own;
  };
  const pixelTaps = new Map<number, number>();
  const seen = new Int32Array(taps);
  visitPatches({ ...geometry, input: [1, geometry.input[1], geometry.input[2]] }, (tap, _, pixel) => {
    seen[tap]!++;
    const before = pixelTaps.get(pixel);
    if (before === undefined) {
      pixelTaps.set(pixel, tap);
    } else {
      group[root(tap)] = root(before);
    }
  });
  const padded = new Set<number>();
  for (let tap = 0; tap < taps; tap++) {
    if (seen[tap]! < positions) {
      padded.add(root(tap));
    }
  }
  const groups = new Map<number, number[]>();
  for (const [pixel, tap] of pixelTaps) {
    const own = root(tap);
    if (!padded.has(own)) {
      groups.set(own, [...(groups.get(own) ?? []), pixel]);
    }
  }
  return [...groups.values()].map((pixels) => pixels.sort((one, other) => one - other));
}
