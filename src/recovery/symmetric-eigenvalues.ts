/**
 * Eigenvalues of a symmetric matrix of hundreds of rows, without vectors: Householder's reduction to three diagonals, then
 * implicit QL (Golub and Van Loan, chapter 8). Errors are of the size of rounding times the largest.
 *
 * @param matrix size x size, row-major; only the lower triangle is read, and it is overwritten
 * @returns smallest first
 */
export function symmetricEigenvalues(matrix: Float64Array, size: number): Float64Array {
  const { diagonal, beside } = threeDiagonals(matrix, size);
  implicitQl(diagonal, beside);
  return diagonal.sort();
}

/** @returns the diagonal, and what stands beside it: entry i between rows i and i + 1, the last one zero */
function threeDiagonals(a: Float64Array, size: number): { diagonal: Float64Array; beside: Float64Array } {
  const diagonal = new Float64Array(size);
  const beside = new Float64Array(size);
  const image = new Float64Array(size);
  for (let last = size - 1; last > 0; last--) {
    diagonal[last] = a[last * size + last]!;
    // The reflection that leaves only the last entry of this row left of the diagonal.
    const row = a.subarray(last * size, last * size + last);
    const length = Math.sqrt(row.reduce((sum, own) => sum + own * own, 0));
    const edge = row[last - 1]!;
    const kept = edge > 0 ? -length : length;
    beside[last - 1] = kept;
    const half = length * (length + Math.abs(edge));
    if (!(half > 0)) {
      continue;
    }
    row[last - 1] = edge - kept;
    image.fill(0, 0, last);
    for (let i = 0; i < last; i++) {
      const line = i * size;
      const own = row[i]!;
      let sum = a[line + i]! * own;
      for (let j = 0; j < i; j++) {
        const entry = a[line + j]!;
        sum += entry * row[j]!;
        image[j]! += entry * own;
      }
      image[i]! += sum;
    }
    let along = 0;
    for (let i = 0; i < last; i++) {
      image[i]! /= half;
      along += image[i]! * row[i]!;
    }
    along /= 2 * half;
    for (let i = 0; i < last; i++) {
      image[i]! -= along * row[i]!;
    }
    for (let i = 0; i < last; i++) {
      const line = i * size;
      const own = row[i]!;
      const other = image[i]!;
      for (let j = 0; j <= i; j++) {
        a[line + j]! -= own * image[j]! + other * row[j]!;
      }
    }
  }
  diagonal[0] = a[0] ?? 0;
  return { diagonal, beside };
}

/** More than any eigenvalue takes. */
const MOST_STEPS = 60;

/** Leaves the eigenvalues on the diagonal. */
function implicitQl(diagonal: Float64Array, beside: Float64Array): void {
  const size = diagonal.length;
  for (let first = 0; first < size; first++) {
    for (let step = 0; step < MOST_STEPS; step++) {
      let split = first;
      while (split < size - 1) {
        const near = Math.abs(diagonal[split]!) + Math.abs(diagonal[split + 1]!);
        if (Math.abs(beside[split]!) <= Number.EPSILON * near) {
          break;
        }
        split++;
      }
      if (split === first) {
        break;
      }
      const ratio = (diagonal[first + 1]! - diagonal[first]!) / (2 * beside[first]!);
      const root = Math.hypot(ratio, 1);
      let bulge = diagonal[split]! - diagonal[first]! + beside[first]! / (ratio + (ratio < 0 ? -root : root));
      let sine = 1;
      let cosine = 1;
      let shift = 0;
      let at = split - 1;
      for (; at >= first; at--) {
        const turned = sine * beside[at]!;
        const straight = cosine * beside[at]!;
        const length = Math.hypot(turned, bulge);
        beside[at + 1] = length;
        if (length === 0) {
          diagonal[at + 1]! -= shift;
          beside[split] = 0;
          break;
        }
        sine = turned / length;
        cosine = bulge / length;
        const above = diagonal[at + 1]! - shift;
        const both = (diagonal[at]! - above) * sine + 2 * cosine * straight;
        shift = sine * both;
        diagonal[at + 1] = above + shift;
        bulge = cosine * both - straight;
      }
      if (at >= first) {
        continue;
      }
      diagonal[first]! -= shift;
      beside[first] = bulge;
      beside[split] = 0;
    }
  }
}
