/** Matrices of a few rows. */

/** Inverse and ln determinant of a symmetric positive definite matrix of up to three rows; undefined when it is singular. */
export function invertSmall(
  matrix: readonly Float64Array[],
): { inverse: Float64Array[]; logDeterminant: number } | undefined {
  const n = matrix.length;
  // Scaled to a unit diagonal first: s, 1/c and f differ by many orders of magnitude.
  const unit = matrix.map((row, i) => 1 / Math.sqrt(row[i]!));
  if (unit.some((value) => !Number.isFinite(value))) {
    return undefined;
  }
  const work = matrix.map((row, i) => {
    const extended = new Float64Array(2 * n);
    row.forEach((value, j) => {
      extended[j] = value * unit[i]! * unit[j]!;
    });
    extended[n + i] = 1;
    return extended;
  });
  let logDeterminant = -2 * unit.reduce((total, value) => total + Math.log(value), 0);
  for (let i = 0; i < n; i++) {
    const pivot = work[i]![i]!;
    if (!(pivot > 1e-13)) {
      return undefined;
    }
    logDeterminant += Math.log(pivot);
    for (let j = 0; j < 2 * n; j++) {
      work[i]![j]! /= pivot;
    }
    for (let k = 0; k < n; k++) {
      const factor = k === i ? 0 : work[k]![i]!;
      for (let j = 0; factor !== 0 && j < 2 * n; j++) {
        work[k]![j]! -= factor * work[i]![j]!;
      }
    }
  }
  return {
    inverse: work.map((row, i) => Float64Array.from({ length: n }, (_, j) => row[n + j]! * unit[i]! * unit[j]!)),
    logDeterminant,
  };
}

export function solveSmall(matrix: readonly Float64Array[], right: Float64Array): Float64Array | undefined {
  const inverted = invertSmall(matrix);
  return (
    inverted && right.map((_, i) => inverted.inverse[i]!.reduce((total, value, j) => total + value * right[j]!, 0))
  );
}
