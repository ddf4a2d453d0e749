import { logMillsRatio, logNormal } from '../../recovery/log-probability.js';

/**
 * Renyi differential privacy of the Gaussian mechanism on a Poisson sample: Mironov, Talwar, Zhang, Renyi Differential Privacy of
 * the Sampled Gaussian Mechanism, 2019, arXiv 1908.10530. Adjacency is adding or removing one unit.
 */

/** How terms of a fractional order's series, whose signs alternate, are summed. */
export interface FractionalSeries {
  /** `signed` gives the value itself, `absolute` a bound above it. */
  readonly terms: 'signed' | 'absolute';
  /** An order whose series takes more is left out. */
  readonly mostTerms: number;
}

/**
 * The divergence of one round.
 *
 * @param rate probability that a unit takes part, above 0, at most 1
 * @param noise standard deviation over sensitivity, above 0
 * @param order above 1
 * @returns Infinity where the series of a fractional order takes too many terms, or its signs leave nothing of it
 */
export function renyiDivergence(rate: number, noise: number, order: number, series: FractionalSeries): number {
  if (rate === 1) {
    // Of the Gaussian mechanism itself: Mironov 2017, arXiv 1702.07476, Proposition 7.
    return order / (2 * noise * noise);
  }
  const logA = Number.isInteger(order)
    ? logMomentOfInteger(rate, noise, order)
    : logMomentOfFraction(rate, noise, order, series);
  return Math.max(0, logA / (order - 1));
}

/** ln A of an integer order: section 3.3, the binomial expansion of the mixture. */
function logMomentOfInteger(rate: number, noise: number, order: number): number {
  const [logIn, logOut] = [Math.log(rate), Math.log1p(-rate)];
  let logBinomial = 0;
  let total = -Infinity;
  for (let k = 0; k <= order; k++) {
    total = logAdd(total, logBinomial + k * logIn + (order - k) * logOut + (k * k - k) / (2 * noise * noise));
    logBinomial += Math.log((order - k) / (k + 1));
  }
  return total;
}

/** A term below this share of the sum, as its logarithm, ends a series. */
const LOG_NEGLIGIBLE = -30;

/**
 * ln A of a fractional order: section 3.3, two series of integrals below and above z0, where the densities with and without the
 * unit are equal. In their tails the exponents of a term cancel but for what does not depend on it, so they are left out
 * before they lose every digit.
 */
function logMomentOfFraction(rate: number, noise: number, order: number, series: FractionalSeries): number {
  const [logIn, logOut, variance] = [Math.log(rate), Math.log1p(-rate), noise * noise];
  const z0 = variance * (logOut - logIn) + 0.5;
  const logTail = order * logOut - (z0 * z0) / (2 * variance);
  let [logBinomial, sign] = [0, 1];
  let [plus, minus] = [-Infinity, -Infinity];
  let [lastBelow, lastAbove] = [-Infinity, -Infinity];
  for (let i = 0; i < series.mostTerms; i++) {
    const j = order - i;
    const [u, v] = [(i - z0) / noise, (z0 - j) / noise];
    const below =
      logBinomial +
      (u > 0 ? logTail + logMillsRatio(u) : i * logIn + j * logOut + (i * i - i) / (2 * variance) + logNormal(-u));
    const above =
      logBinomial +
      (v > 0 ? logTail + logMillsRatio(v) : j * logIn + i * logOut + (j * j - j) / (2 * variance) + logNormal(-v));
    const term = logAdd(below, above);
    if (sign > 0 || series.terms === 'absolute') {
      plus = logAdd(plus, term);
    } else {
      minus = logAdd(minus, term);
    }
    if (below < lastBelow && above < lastAbove && Math.max(below, above) < plus + LOG_NEGLIGIBLE) {
      return minus < plus ? plus + Math.log1p(-Math.exp(minus - plus)) : Infinity;
    }
    [lastBelow, lastAbove] = [below, above];
    const factor = (order - i) / (i + 1);
    logBinomial += Math.log(Math.abs(factor));
    sign *= Math.sign(factor);
  }
  return Infinity;
}

function logAdd(one: number, other: number): number {
  const [low, high] = one < other ? [one, other] : [other, one];
  return low === -Infinity ? high : high + Math.log1p(Math.exp(low - high));
}
