import { logMillsRatio, logNormal } from '../../recovery/log-probability.js';

/**
 * One release of the Gaussian mechanism, exactly: Balle and Wang, Improving the Gaussian Mechanism for Differential Privacy,
 * ICML 2018, arXiv 1805.06530. Noise is given as noise multiplier: its standard deviation over the sensitivity.
 */

/**
 * ln of the smallest delta for which the mechanism is (epsilon, delta)-private: Theorem 8, equation (6), with
 * D = 1 / noise: delta = Phi(D/2 - epsilon/D) - e^epsilon Phi(-D/2 - epsilon/D).
 */
function logDelta(epsilon: number, noise: number): number {
  const near = 1 / (2 * noise) - epsilon * noise;
  const far = 1 / (2 * noise) + epsilon * noise;
  const first = logNormal(near);
  // epsilon - far^2 / 2 = -near^2 / 2: the two large numbers would leave nothing of their difference.
  const second = -0.5 * near * near + logMillsRatio(far);
  return second >= first ? -Infinity : first + Math.log1p(-Math.exp(second - first));
}

/**
 * The epsilon of one release.
 *
 * @param noise standard deviation over sensitivity, above 0
 * @param delta above 0, below 1
 * @returns the smallest epsilon, rounded up in its last digits; 0 where delta alone allows the whole difference
 */
export function epsilonOfRelease(noise: number, delta: number): number {
  return leastThat((epsilon) => logDelta(epsilon, noise) <= Math.log(delta), 0, 1);
}

/**
 * The noise multiplier that one release needs.
 *
 * @param epsilon at least 0
 * @param delta above 0, below 1
 * @returns the smallest one, rounded up in its last digits
 */
export function noiseOfRelease(epsilon: number, delta: number): number {
  return leastThat((noise) => noise > 0 && logDelta(epsilon, noise) <= Math.log(delta), 0, 1);
}

/** The smallest number from `low` on that suffices, by halving, from above; what is larger than one that suffices suffices. */
export function leastThat(suffices: (value: number) => boolean, low: number, high: number): number {
  if (suffices(low)) {
    return low;
  }
  let [below, above] = [low, high];
  while (!suffices(above)) {
    [below, above] = [above, 2 * above];
  }
  for (let middle = (below + above) / 2; below < middle && middle < above; middle = (below + above) / 2) {
    if (suffices(middle)) {
      above = middle;
    } else {
      below = middle;
    }
  }
  return above;
}
