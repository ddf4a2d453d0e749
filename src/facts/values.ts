import type { Dtype } from '../formats/tensor-file.js';
import { UnusableInputError } from '../protocol/errors.js';

const ROUNDOFF: Partial<Record<Dtype, number>> = {
  float64: 2 ** -53,
  float32: 2 ** -24,
  float16: 2 ** -11,
  bfloat16: 2 ** -8,
  float8_e4m3fn: 2 ** -4,
  float8_e5m2: 2 ** -3,
};

/** Unit roundoff of a floating-point type; that of float32 for others. */
export function roundoffOf(dtype: Dtype): number {
  return ROUNDOFF[dtype] ?? 2 ** -24;
}

/** @throws UnusableInputError when the head's gradient is not finite or all zero */
export function requireUsable(path: string, name: string, data: Float64Array): void {
  if (!data.every(Number.isFinite)) {
    throw new UnusableInputError({
      code: 'not-finite',
      file: path,
      found: `NaN or infinite values in "${name}"`,
      expected: 'finite numbers in the head',
      advice:
        'Capture the gradient of a step that did not overflow (unscale it first when training in mixed precision).',
    });
  }
  if (data.every((value) => value === 0)) {
    throw allZero(path, `"${name}"`);
  }
}

/** The error for a gradient without any number but zero. */
export function allZero(path: string, what: string): UnusableInputError {
  return new UnusableInputError({
    code: 'all-zero',
    file: path,
    found: `only zeros in ${what}`,
    expected: 'a gradient',
    advice: 'Capture after backward() and before optimizer.zero_grad().',
  });
}
