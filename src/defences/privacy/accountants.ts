import { type FractionalSeries, renyiDivergence } from './sampled-gaussian.js';

/**
 * Accountants that add up Renyi divergences over rounds and turn the sum into (epsilon, delta), as the two libraries do that people
 * use. They agree in the mechanism and in the formula, and differ in orders, in how series are summed, and near zero.
 */

export const ACCOUNTANTS = ['dp-accounting', 'opacus'] as const;
export type AccountantName = (typeof ACCOUNTANTS)[number];

interface Accountant {
  readonly orders: readonly number[];
  readonly series: FractionalSeries;
  /** A divergence so small that (0, delta) follows from the total variation distance. */
  readonly isZeroWhenClose: boolean;
}

const upTo = (first: number, last: number): number[] => Array.from({ length: last - first + 1 }, (_, at) => first + at);
/** 1.1, 1.2, ..., 10.9. */
const FINE_ORDERS = upTo(1, 99).map((tenths) => 1 + tenths / 10);

const SETTINGS: Record<AccountantName, Accountant> = {
  // `DEFAULT_RDP_ORDERS` of dp_accounting 0.6.0, on which TensorFlow Privacy and JAX Privacy stand.
  'dp-accounting': {
    orders: [...FINE_ORDERS, ...upTo(11, 63), 128, 256, 512, 1024],
    series: { terms: 'absolute', mostTerms: 1000 },
    isZeroWhenClose: true,
  },
  // `RDPAccountant.DEFAULT_ALPHAS` of opacus 1.6.0.
  opacus: {
    orders: [...FINE_ORDERS, ...upTo(12, 63)],
    series: { terms: 'signed', mostTerms: 20_000 },
    isZeroWhenClose: false,
  },
};

export interface Spent {
  readonly epsilon: number;
  /** The Renyi order that gave it. */
  readonly order: number;
}

/**
 * The epsilon of rounds of the sampled Gaussian mechanism.
 *
 * @param noise standard deviation over sensitivity, above 0
 * @param rate probability that a unit takes part in a round, above 0, at most 1
 * @param rounds a whole number, at least 1
 * @param delta above 0, below 1
 */
export function epsilonOfRounds(
  name: AccountantName,
  noise: number,
  rate: number,
  rounds: number,
  delta: number,
): Spent {
  const { orders, series, isZeroWhenClose } = SETTINGS[name];
  return orders
    .map((order) => {
      const divergence = rounds * renyiDivergence(rate, noise, order, series);
      const isZero = isZeroWhenClose && delta * delta > -Math.expm1(-divergence);
      return { epsilon: isZero ? 0 : converted(divergence, order, delta), order };
    })
    .reduce((best, own) => (own.epsilon < best.epsilon ? own : best));
}

/**
 * From a Renyi divergence to epsilon: Balle, Barthe, Gaboardi, Hsu, Sato, Hypothesis Testing Interpretations and Renyi
 * Differential Privacy, AISTATS 2020, arXiv 1905.09982, Theorem 21; Canonne, Kamath, Steinke 2020, arXiv 2004.00010,
 * Proposition 12.
 */
function converted(divergence: number, order: number, delta: number): number {
  return Math.max(0, divergence + Math.log1p(-1 / order) - (Math.log(delta) + Math.log(order)) / (order - 1));
}
