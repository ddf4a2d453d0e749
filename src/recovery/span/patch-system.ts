import { symmetricEigen } from '../symmetric-eigen.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import type { PatchGeometry } from '../../graph/patches.js';

/**
 * Patches overlap: one pixel stands in several of them, and outside of the image they are zero. For patches of the form
 * V^T A_p (+ m) that is a homogeneous linear system in A, whose null space holds the inputs of the batch.
 */

/** Where in a patch a pixel stands: output position and kernel offset. */
interface Place {
  readonly position: number;
  readonly offset: number;
}

/** For each pixel the patches that hold it, the one nearest to its centre first; and the entries that lie outside. */
export function overlapsOf({ input: [, height, width], kernel, output, geometry }: PatchGeometry): {
  readonly pixels: readonly (readonly Place[])[];
  readonly outside: readonly Place[];
} {
  const { strides, pads, dilations } = geometry;
  const pixels: Place[][] = Array.from({ length: height * width }, () => []);
  const outside: Place[] = [];
  for (let position = 0; position < output[0] * output[1]; position++) {
    const [row, col] = [Math.floor(position / output[1]), position % output[1]];
    for (let offset = 0; offset < kernel[0] * kernel[1]; offset++) {
      const y = row * strides[0] - pads[0] + Math.floor(offset / kernel[1]) * dilations[0];
      const x = col * strides[1] - pads[1] + (offset % kernel[1]) * dilations[1];
      const inside = y >= 0 && y < height && x >= 0 && x < width;
      (inside ? pixels[y * width + x]! : outside).push({ position, offset });
    }
  }
  const centre = (offset: number): number =>
    Math.abs(Math.floor(offset / kernel[1]) - (kernel[0] - 1) / 2) +
    Math.abs((offset % kernel[1]) - (kernel[1] - 1) / 2);
  for (const places of pixels) {
    places.sort((one, other) => centre(one.offset) - centre(other.offset));
  }
  return { pixels, outside };
}

export interface PatchSystem {
  /** (P rank) x (P rank), row-major: A^T M A is the squared disagreement of overlapping patches. */
  readonly matrix: Float64Array;
  readonly size: number;
  /** The input that coefficients A (P x rank) stand for: channels x rows x columns. */
  inputOf(coefficients: Float64Array): Float64Array;
}

/**
 * @param basis V, rank x (channels, kernel rows, kernel columns), orthonormal rows
 * @param centred whether the row space holds only differences of patches, as below batch normalisation in train mode;
 * then one patch m, common to all positions, is eliminated
 */
export async function patchSystem(
  basis: Float64Array,
  rank: number,
  geometry: PatchGeometry,
  centred: boolean,
  product: ProductKernel,
): Promise<PatchSystem> {
  const [channels, height, width] = geometry.input;
  const taps = geometry.kernel[0] * geometry.kernel[1];
  const positions = geometry.output[0] * geometry.output[1];
  const { pixels, outside } = overlapsOf(geometry);
  const parts = tapParts(basis, rank, channels, taps);
  const grams: Float64Array[] = [];
  for (let k = 0; k < taps; k++) {
    for (let l = 0; l < taps; l++) {
      grams.push(await product(parts[k]!, parts[l]!, rank, rank, channels));
    }
  }
  // Every condition is a sum of patch entries with signs that has to vanish.
  const weights = new Map<string, number>();
  const key = (one: Place, other: Place): string =>
    `${one.position * taps + one.offset},${other.position * taps + other.offset}`;
  const mean = new Float64Array(taps * taps);
  const mixed = Array.from({ length: positions }, () => new Float64Array(taps * taps));
  const condition = (terms: readonly (readonly [Place, number])[]): void => {
    for (const [one, sign] of terms) {
      for (const [other, otherSign] of terms) {
        const name = key(one, other);
        weights.set(name, (weights.get(name) ?? 0) + sign * otherSign);
        mean[one.offset * taps + other.offset]! += sign * otherSign;
        mixed[one.position]![one.offset * taps + other.offset]! += sign * otherSign;
      }
    }
  };
  outside.forEach((place) => {
    condition([[place, 1]]);
  });
  for (const [owner, ...others] of pixels) {
    others.forEach((place) => {
      condition([
        [place, 1],
        [owner!, -1],
      ]);
    });
  }
  const size = positions * rank;
  const matrix = new Float64Array(size * size);
  const addBlock = (p: number, q: number, gram: Float64Array, weight: number): void => {
    for (let i = 0; i < rank; i++) {
      const line = (p * rank + i) * size + q * rank;
      for (let j = 0; j < rank; j++) {
        matrix[line + j]! += weight * gram[i * rank + j]!;
      }
    }
  };
  for (const [name, weight] of weights) {
    const [one, other] = name.split(',').map(Number) as [number, number];
    addBlock(Math.floor(one / taps), Math.floor(other / taps), grams[(one % taps) * taps + (other % taps)]!, weight);
  }
  const elimination = centred ? inverseOf(mean, taps) : undefined;
  if (elimination) {
    for (let p = 0; p < positions; p++) {
      const left = product9(mixed[p]!, elimination, taps);
      for (let q = 0; q < positions; q++) {
        const both = product9(left, transposed9(mixed[q]!, taps), taps);
        both.forEach((weight, at) => {
          if (weight !== 0) {
            addBlock(p, q, grams[at]!, -weight);
          }
        });
        // Moving all A_p together is undone by m: fixed by asking for a mean of zero.
        for (let i = 0; i < rank; i++) {
          matrix[(p * rank + i) * size + q * rank + i]! += 1 / positions;
        }
      }
    }
  }
  return {
    matrix,
    size,
    inputOf(coefficients) {
      const input = new Float64Array(channels * height * width);
      const common = elimination && commonPatch(coefficients, rank, parts, mixed, elimination, taps, channels);
      pixels.forEach(([owner], pixel) => {
        if (!owner) {
          return;
        }
        const part = parts[owner.offset]!;
        for (let c = 0; c < channels; c++) {
          let sum = common ? common[owner.offset * channels + c]! : 0;
          for (let i = 0; i < rank; i++) {
            sum += part[i * channels + c]! * coefficients[owner.position * rank + i]!;
          }
          input[c * height * width + pixel] = sum;
        }
      });
      return input;
    },
  };
}

/** V parted by kernel offset: rank x channels each. */
function tapParts(basis: Float64Array, rank: number, channels: number, taps: number): Float64Array[] {
  return Array.from({ length: taps }, (_, tap) => {
    const part = new Float64Array(rank * channels);
    for (let i = 0; i < rank; i++) {
      for (let c = 0; c < channels; c++) {
        part[i * channels + c] = basis[(i * channels + c) * taps + tap]!;
      }
    }
    return part;
  });
}

/** m = -D^-1 X^T A, taps x channels. */
function commonPatch(
  coefficients: Float64Array,
  rank: number,
  parts: readonly Float64Array[],
  mixed: readonly Float64Array[],
  elimination: Float64Array,
  taps: number,
  channels: number,
): Float64Array {
  const right = new Float64Array(taps * channels);
  mixed.forEach((weights, p) => {
    for (let k = 0; k < taps; k++) {
      const entry = new Float64Array(channels);
      for (let i = 0; i < rank; i++) {
        const a = coefficients[p * rank + i]!;
        for (let c = 0; c < channels; c++) {
          entry[c]! += a * parts[k]![i * channels + c]!;
        }
      }
      for (let l = 0; l < taps; l++) {
        const weight = weights[k * taps + l]!;
        if (weight !== 0) {
          for (let c = 0; c < channels; c++) {
            right[l * channels + c]! += weight * entry[c]!;
          }
        }
      }
    }
  });
  const out = new Float64Array(taps * channels);
  for (let k = 0; k < taps; k++) {
    for (let l = 0; l < taps; l++) {
      for (let c = 0; c < channels; c++) {
        out[k * channels + c]! -= elimination[k * taps + l]! * right[l * channels + c]!;
      }
    }
  }
  return out;
}

function product9(a: Float64Array, b: Float64Array, size: number): Float64Array {
  const out = new Float64Array(size * size);
  for (let i = 0; i < size; i++) {
    for (let k = 0; k < size; k++) {
      const value = a[i * size + k]!;
      if (value !== 0) {
        for (let j = 0; j < size; j++) {
          out[i * size + j]! += value * b[k * size + j]!;
        }
      }
    }
  }
  return out;
}

function transposed9(a: Float64Array, size: number): Float64Array {
  return Float64Array.from(a, (_, at) => a[(at % size) * size + Math.floor(at / size)]!);
}

/** Inverse of a small symmetric positive matrix; directions that nothing determines (no padding) stay zero. */
function inverseOf(matrix: Float64Array, size: number): Float64Array {
  const { values, vectors } = symmetricEigen(matrix, size);
  const out = new Float64Array(size * size);
  const floor = 1e-10 * values[size - 1]!;
  for (let e = 0; e < size; e++) {
    if (values[e]! > floor) {
      for (let i = 0; i < size; i++) {
        for (let j = 0; j < size; j++) {
          out[i * size + j]! += (vectors[e * size + i]! * vectors[e * size + j]!) / values[e]!;
        }
      }
    }
  }
  return out;
}
