/** Numbers of a norm; null where there is no bias. */
export interface NormValues {
  readonly kind: 'layer' | 'rms';
  /** The factor that is applied, one per column. */
  readonly gain: Float64Array;
  readonly bias: Float64Array | null;
  readonly epsilon: number;
}

/**
 * Layer normalisation, or division by the root mean square.
 *
 * @param rows n x width, row-major, where the width is that of the gain
 * @returns of the same shape
 */
export function normaliseRows({ kind, gain, bias, epsilon }: NormValues, rows: Float64Array): Float64Array {
  const width = gain.length;
  const out = new Float64Array(rows.length);
  for (let start = 0; start < rows.length; start += width) {
    let mean = 0;
    if (kind === 'layer') {
      for (let col = 0; col < width; col++) {
        mean += rows[start + col]!;
      }
      mean /= width;
    }
    let square = 0;
    for (let col = 0; col < width; col++) {
      square += (rows[start + col]! - mean) ** 2;
    }
    const scale = 1 / Math.sqrt(square / width + epsilon);
    for (let col = 0; col < width; col++) {
      out[start + col] = (rows[start + col]! - mean) * scale * gain[col]! + (bias?.[col] ?? 0);
    }
  }
  return out;
}
