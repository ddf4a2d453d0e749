import type { Dtype } from '../formats/tensor-file.js';

/** Binary floating-point formats, as far as telling rounding from other digits needs them. */

interface FloatFormat {
  /** Digits after the leading one. */
  readonly mantissaBits: number;
  /** Exponent of the smallest normal number; below it the spacing stays the same. */
  readonly lowestExponent: number;
}

const FORMATS: Partial<Record<Dtype, FloatFormat>> = {
  float64: { mantissaBits: 52, lowestExponent: -1022 },
  float32: { mantissaBits: 23, lowestExponent: -126 },
  float16: { mantissaBits: 10, lowestExponent: -14 },
  bfloat16: { mantissaBits: 7, lowestExponent: -126 },
  float8_e4m3fn: { mantissaBits: 3, lowestExponent: -6 },
  float8_e5m2: { mantissaBits: 2, lowestExponent: -14 },
};

/** Whichever of two types keeps fewer digits. */
export function coarserType(one: Dtype, other: Dtype): Dtype {
  return digitsOf(one) <= digitsOf(other) ? one : other;
}

function digitsOf(dtype: Dtype): number {
  return (FORMATS[dtype] ?? FORMATS.float32!).mantissaBits;
}

const FLOAT = new Float64Array(1);
const WORDS = new Uint32Array(FLOAT.buffer);
const HIGH_WORD = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1 ? 1 : 0;

/** floor(log2 |value|); -1023 for zero and for what float64 holds as subnormal. */
export function exponentOf(value: number): number {
  FLOAT[0] = value;
  return ((WORDS[HIGH_WORD]! >>> 20) & 0x7ff) - 1023;
}

/** Distance from |value| to the next larger number of the type; the type's smallest number for 0. */
export function ulpOf(value: number, dtype: Dtype): number {
  const { mantissaBits, lowestExponent } = FORMATS[dtype] ?? FORMATS.float32!;
  return 2 ** (Math.max(exponentOf(value), lowestExponent) - mantissaBits);
}

/** The nearest number of the type, ties to even (IEEE 754), overflow left out: weights do not overflow. */
export function roundTo(value: number, dtype: Dtype): number {
  if (dtype === 'float64') {
    return value;
  }
  if (dtype === 'float32') {
    return Math.fround(value);
  }
  const ulp = ulpOf(value, dtype);
  const scaled = value / ulp;
  const below = Math.floor(scaled);
  const rest = scaled - below;
  const up = rest > 0.5 || (rest === 0.5 && below % 2 !== 0);
  return (below + (up ? 1 : 0)) * ulp;
}

/** A weight and what was captured of it. */
interface OnGrid {
  readonly gradient: Float64Array;
  readonly parameter: Float64Array;
  readonly parameterType: Dtype;
}

const COARSE: readonly Dtype[] = ['bfloat16', 'float16'];
/** So many numbers other than zero do not all end in zeros by chance. */
const FEWEST_ON_GRID = 64;

/**
 * The samples with the type that their weights were rounded to, which is coarser than the stored one where weights were
 * trained or sent in half precision and widened again: numpy has no bfloat16.
 */
export function onOwnGrid<T extends OnGrid>(samples: readonly T[]): T[] {
  const type = COARSE.find((own) => isOnGrid(samples, own));
  return samples.map((sample) =>
    type === undefined ? sample : { ...sample, parameterType: coarserType(type, sample.parameterType) },
  );
}

function isOnGrid(samples: readonly OnGrid[], type: Dtype): boolean {
  let told = 0;
  const fits = (value: number): boolean => roundTo(value, type) === value;
  for (const { gradient, parameter, parameterType } of samples) {
    for (const [index, value] of parameter.entries()) {
      const step = gradient[index]!;
      if (
        !fits(value) ||
        (!fits(roundTo(value + step, parameterType)) && !fits(roundTo(value - step, parameterType)))
      ) {
        return false;
      }
      told += value === 0 ? 0 : 1;
    }
  }
  return told >= FEWEST_ON_GRID;
}
