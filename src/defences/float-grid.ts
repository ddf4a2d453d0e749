/** A binary floating-point type: its numbers are multiples of 2^(exponent - mantissa) between powers of two. */
export interface FloatGrid {
  /** Bits of the mantissa behind the point. */
  readonly mantissa: number;
  /** Exponent of the smallest normal number; below, steps stay what they are. */
  readonly least: number;
  readonly largest: number;
}

export const FLOAT16: FloatGrid = { mantissa: 10, least: -14, largest: 65504 };
export const BFLOAT16: FloatGrid = { mantissa: 7, least: -126, largest: 3.3895313892515355e38 };
export const FLOAT8_E4M3: FloatGrid = { mantissa: 3, least: -6, largest: 448 };

/** The nearest number of the type, of two the even one; what is beyond its range becomes its largest. */
export function toGrid(value: number, { mantissa, least, largest }: FloatGrid): number {
  const size = Math.abs(value);
  if (!(size > 0) || !Number.isFinite(size)) {
    return value;
  }
  const step = 2 ** (Math.max(Math.floor(Math.log2(size)), least) - mantissa);
  return Math.sign(value) * Math.min(step * roundedToEven(size / step), largest);
}

function roundedToEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}
