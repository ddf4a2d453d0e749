import { type PatchGeometry, visitPatches } from '../../graph/patches.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import { transposed } from '../linear-algebra.js';
import type { Pause } from '../pause.js';
import { dot, norm } from '../vectors.js';
import { type RowSpace, rowSpaceOf } from './row-space.js';

/**
 * The input of a convolution below batch normalisation in train mode, one sample, from its weight gradient and from what
 * it gives out. Strides leave shifts of the input by whole strides that the row space alone does not tell apart; on the
 * entries that the rectifier above lets pass, the output is an affine function of what the convolution gave out, channel
 * by channel, which does. No published source.
 */

export interface ForwardSpanProblem extends PatchGeometry {
  /** Output channels x input channels x kernel rows x kernel columns: dL/dW. */
  readonly gradient: Float64Array;
  readonly filters: number;
  /** What the convolution's output is known to look like; undefined where it is not. */
  readonly above: ForwardKnowledge | undefined;
  /** Relative error of the gradient's numbers. */
  readonly error: number;
}

export interface ForwardKnowledge {
  /** The convolution's own weights, as long as its gradient. */
  readonly weight: Float64Array;
  /** Output of the rectifier above, up to a factor: filters x rows x columns; exact zeros where it cut. */
  readonly values: Float64Array;
}

export interface ForwardSpan {
  /** Up to a factor, and up to a constant on the pixels of each `free` group in each channel. */
  readonly map: Float64Array;
  /** Pixels (of a channel) that a common constant can be added to without any patch difference showing it. */
  readonly free: readonly (readonly number[])[];
  readonly rowSpace: RowSpace;
  /** What the equations leave of the map, relative. */
  readonly residual: number;
  /** How far the maps that two starts lead to lie apart, relative. */
  readonly disagreement: number;
}

/** A rank without such a gap is no rank. */
const LEAST_GAP = 30;
const MOST_ITERATIONS = 1500;
/** The second start only has to show that there is no other solution. */
const TOLERANCE = 1e-10;
const ROUGH = 1e-7;
/** Output channels with fewer values that were let pass say nothing beyond their affine function. */
const FEWEST_VALUES = 4;

/**
 * The solution of a homogeneous system, as what conjugate gradients leave of a start that has a share of it.
 *
 * @param product lets other work run, and throws CancelledError once the user has asked to stop
 * @returns a sentence where the gradient does not tell its input
 */
export async function forwardSpan(
  problem: ForwardSpanProblem,
  product: ProductKernel,
  random: () => number,
  pause: Pause,
): Promise<ForwardSpan | string> {
  const { input, kernel, output, filters, gradient, error } = problem;
  const columns = input[0] * kernel[0] * kernel[1];
  const positions = output[0] * output[1];
  if (filters < positions) {
    return `${filters} output channels at ${positions} positions: a row space needs as many channels as positions`;
  }
  const rowSpace = await rowSpaceOf(gradient, filters, columns, error, () => pause());
  if (!(rowSpace.gap >= LEAST_GAP) || rowSpace.rank !== positions - 1) {
    return `a row space of rank ${rowSpace.rank} (gap ${rowSpace.gap.toPrecision(2)}) is not that of one sample's ${positions} positions`;
  }
  const system = new System(problem, rowSpace, product);
  const pixels = input[0] * input[1] * input[2];
  const settled = await nullPart(
    system,
    Float64Array.from({ length: pixels }, () => 0.5 + random()),
    TOLERANCE,
    pause,
  );
  const other = await nullPart(
    system,
    Float64Array.from({ length: pixels }, () => random() - 0.5),
    ROUGH,
    pause,
  );
  const share = dot(settled, other) / dot(settled, settled);
  const apart = other.map((value, at) => value - share * settled[at]!);
  const left = await system.apply(settled);
  return {
    map: settled,
    free: system.free,
    rowSpace,
    residual: Math.sqrt(Math.max(dot(left, settled), 0)) / norm(settled),
    disagreement: norm(apart) / norm(other),
  };
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
    private readonly rowSpace: RowSpace,
    private readonly product: ProductKernel,
  ) {
    const { input, kernel, output, above } = problem;
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
    const patches = new Float64Array(positions * columns);
    visitPatches(this.problem, (column, position, pixel) => {
      patches[position * columns + column] = a[pixel]!;
    });
    const back = this.rows.length > 0 ? await this.forwardPart(patches) : new Float64Array(patches.length);
    const centred = patches;
    subtractMeans(centred, positions, columns);
    const coefficients = await product(centred, this.rowSpace.basis, positions, this.rowSpace.rank, columns);
    const inside = await product(coefficients, this.basisTurned, positions, columns, this.rowSpace.rank);
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
