import { erf } from '../graph/erf.js';

/** Logarithms of sums, counts and probabilities that would overflow. */

export function logSum(values: readonly number[]): number {
  const top = values.reduce((most, value) => Math.max(most, value), -Infinity);
  return top === -Infinity ? top : top + Math.log(values.reduce((total, value) => total + Math.exp(value - top), 0));
}

/** ln of the normal distribution function, to 1e-13 of itself (absolutely, where it is near zero). */
export function logNormal(z: number): number {
  return z > 0 ? Math.log1p(-Math.exp(logNormal(-z))) : -0.5 * z * z + logMillsRatio(-z);
}

/** ln of e^(u^2/2) times the normal distribution function at -u, which does not underflow. @param u at least 0 */
export function logMillsRatio(u: number): number {
  const x = u / Math.SQRT2;
  if (x < 2) {
    return x * x + Math.log(0.5 * (1 - erf(x)));
  }
  // The continued fraction of erfc, Abramowitz and Stegun 7.1.14, from far enough out for float64 at x = 2.
  let fraction = 0;
  for (let k = 90; k >= 1; k--) {
    fraction = k / 2 / (x + fraction);
  }
  return -Math.log(2 * Math.sqrt(Math.PI) * (x + fraction));
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
