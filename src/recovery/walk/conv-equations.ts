import { visitPatches } from '../../graph/patches.js';
import type { ConvPlace } from './conv-place.js';

/** The linear equations that a convolution's weight gradient holds for its input, where its delta is known. */

export interface KnownDelta {
  readonly place: ConvPlace;
  /** batch x filters x rows x columns of the output */
  readonly delta: Float64Array;
  /** Output channels whose delta may be wrong, as far as can be told before; they are weighed in last. */
  readonly doubtful: ReadonlySet<number>;
}

/** Output channels below this share of the largest are rounding, or dead. */
const DEAD = 1e-5;
/** Rounding counts relative to a channel's size, down to this share of the largest. */
const WEIGHT_FLOOR = 1e-4;

/** An output channel's equations: one row per kernel offset. */
export interface Row {
  readonly source: number;
  readonly channel: number;
  readonly first: number;
  readonly taps: number;
  /** Root mean square of its gradients, or of what its delta would make of a typical input. */
  readonly size: number;
}

export interface Rows {
  readonly rows: readonly Row[];
  /** Number of equations. */
  readonly count: number;
  /** channels x count */
  readonly right: Float64Array;
}

/** The gradients of all live output channels that see input channels `first` to `first + channels`. */
export function equationsOf(known: readonly KnownDelta[], first: number, channels: number): Rows {
  const rows: Row[] = [];
  const gathered: { place: ConvPlace; channel: number; offset: number }[] = [];
  known.forEach(({ place, delta }, source) => {
    const { gradient, filters, geometry, kernel, input, output } = place;
    const taps = kernel[0] * kernel[1];
    const perGroup = input[0] / geometry.groups;
    const filtersPerGroup = filters / geometry.groups;
    const group = Math.floor(first / perGroup);
    const plane = output[0] * output[1];
    const batch = delta.length / (filters * plane);
    const strengthOf = (o: number): number => {
      let sum = 0;
      for (let b = 0; b < batch; b++) {
        for (let at = (b * filters + o) * plane; at < (b * filters + o + 1) * plane; at++) {
          sum += delta[at]! ** 2;
        }
      }
      return Math.sqrt(sum);
    };
    const sizeOf = (o: number): number => {
      let sum = 0;
      for (let at = o * perGroup * taps; at < (o + 1) * perGroup * taps; at++) {
        sum += gradient[at]! ** 2;
      }
      return Math.sqrt(sum / (perGroup * taps));
    };
    const sizes = Array.from({ length: filtersPerGroup }, (_, at) => sizeOf(group * filtersPerGroup + at));
    const strengths = sizes.map((_, at) => strengthOf(group * filtersPerGroup + at));
    // What a delta of length one makes of the input, as most channels have it.
    const gain = median(
      Float64Array.from(sizes.flatMap((own, at) => (strengths[at]! > 0 ? [own / strengths[at]!] : []))),
    );
    const largest = Math.max(...sizes);
    sizes.forEach((own, at) => {
      const channel = group * filtersPerGroup + at;
      if (own > DEAD * largest && strengths[at]! > 0) {
        const before = rows[rows.length - 1];
        rows.push({
          source,
          channel,
          first: before ? before.first + before.taps : 0,
          taps,
          // A delta that is far too large for its gradient is wrong, and must not outweigh the others.
          size: Math.max(own, WEIGHT_FLOOR * largest, strengths[at]! * gain),
        });
        gathered.push({ place, channel, offset: first - group * perGroup });
      }
    });
  });
  const last = rows[rows.length - 1];
  const count = last ? last.first + last.taps : 0;
  const right = new Float64Array(channels * count);
  rows.forEach((row, at) => {
    const { place, channel, offset } = gathered[at]!;
    const perGroup = place.input[0] / place.geometry.groups;
    for (let c = 0; c < channels; c++) {
      const from = (channel * perGroup + offset + c) * row.taps;
      for (let k = 0; k < row.taps; k++) {
        right[c * count + row.first + k] = place.gradient[from + k]! / row.size;
      }
    }
  });
  return { rows, count, right };
}

/** unknowns x equations: each row of equations in units of its channel's size. */
export function designOf({ rows, count }: Rows, known: readonly KnownDelta[], batch: number): Float64Array {
  const [, height, width] = known[0]!.place.input;
  const pixels = height * width;
  const design = new Float64Array(batch * pixels * count);
  for (const { source, channel, first, size } of rows) {
    const { place, delta } = known[source]!;
    const positions = place.output[0] * place.output[1];
    for (let b = 0; b < batch; b++) {
      const from = (b * place.filters + channel) * positions;
      visitPatches({ ...place, input: [1, height, width] }, (offset, position, pixel) => {
        design[(b * pixels + pixel) * count + first + offset] = delta[from + position]! / size;
      });
    }
  }
  return design;
}

/** Each column times its own factor. */
export function scaledColumns(matrix: Float64Array, factors: Float64Array): Float64Array {
  const out = new Float64Array(matrix.length);
  const cols = factors.length;
  for (let start = 0; start < matrix.length; start += cols) {
    for (let col = 0; col < cols; col++) {
      out[start + col] = matrix[start + col]! * factors[col]!;
    }
  }
  return out;
}

/** Each channel's number for each of its equations. */
export function perEquation({ rows, count }: Rows, weights: Float64Array): Float64Array {
  const out = new Float64Array(count);
  rows.forEach(({ first, taps }, at) => {
    out.fill(weights[at]!, first, first + taps);
  });
  return out;
}

export function median(values: Float64Array): number {
  return values.slice().sort()[values.length >> 1] ?? 0;
}
