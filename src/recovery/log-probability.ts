/** Logarithms of sums, counts and probabilities that would overflow. */

export function logSum(values: readonly number[]): number {
  const top = values.reduce((most, value) => Math.max(most, value), -Infinity);
  return top === -Infinity ? top : top + Math.log(values.reduce((total, value) => total + Math.exp(value - top), 0));
}

/** ln of the normal distribution function. */
export function logNormal(z: number): number {
  if (z > 6) {
    return 0;
  }
  if (z < -6) {
    return -0.5 * z * z - Math.log(-z * Math.sqrt(2 * Math.PI));
  }
  // Abramowitz and Stegun 26.2.17, to 7.5e-8.
  const t = 1 / (1 + 0.2316419 * Math.abs(z));
  const tail =
    (Math.exp(-0.5 * z * z) / Math.sqrt(2 * Math.PI)) *
    t *
    (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return Math.log(z >= 0 ? 1 - tail : tail);
}

export function logFactorial(n: number): number {
  let total = 0;
  for (let i = 2; i <= n; i++) {
    total += Math.log(i);
  }
  return total;
}

export function logChoose(n: number, k: number): number {
  let total = -logFactorial(k);
  for (let i = 0; i < k; i++) {
    total += Math.log(n - i);
  }
  return total;
}
