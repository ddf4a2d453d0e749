/**
 * Labels of one class each as rows of ones and zeros.
 *
 * @param labels class of each of N samples
 * @returns N x K
 */
export function oneHot(labels: readonly number[], classes: number): Float64Array {
  const rows = new Float64Array(labels.length * classes);
  labels.forEach((label, row) => {
    rows[row * classes + label] = 1;
  });
  return rows;
}
