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
