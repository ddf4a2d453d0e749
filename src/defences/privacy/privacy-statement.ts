import { UnusableInputError } from '../../protocol/errors.js';
import { ACCOUNTANTS, type AccountantName, epsilonOfRounds } from './accountants.js';
import { epsilonOfRelease, leastThat, noiseOfRelease } from './analytic-gaussian.js';

/**
 * What clipping and noise promise, in numbers and in sentences. An epsilon is never told without its delta, its unit, its
 * adjacency and what it assumes.
 */

export const UNITS = ['sample', 'client update'] as const;
export type PrivacyUnit = (typeof UNITS)[number];
export const ADJACENCIES = ['add or remove one', 'replace one'] as const;
export type Adjacency = (typeof ADJACENCIES)[number];

/** A mechanism: units are clipped, summed, and noise is added, in every round anew. */
export interface PrivacySetting {
  /** Standard deviation of the noise in each number of the sum, over the clip norm. */
  readonly noiseMultiplier: number;
  /** Largest Euclidean norm of a unit's part of the sum, in the gradient's units. */
  readonly clipNorm: number;
  readonly delta: number;
  /** How often a sum is released; 1 when absent. */
  readonly rounds?: number;
  /** Probability that a unit takes part in a round, independently of the others; 1 when absent. */
  readonly samplingRate?: number;
  readonly unit: PrivacyUnit;
  readonly adjacency: Adjacency;
  /** How many units there are, where that is known. */
  readonly population?: number;
  /** Adds up rounds; a single release of all units is computed exactly. */
  readonly accountant?: AccountantName;
}

export interface PrivacyStatement {
  readonly epsilon: number;
  readonly delta: number;
  readonly unit: PrivacyUnit;
  readonly adjacency: Adjacency;
  /** Standard deviation of the noise in each number of the sum, in the gradient's units. */
  readonly noiseDeviation: number;
  /** By how much a unit can change the sum: the clip norm, or twice that where one replaces another. */
  readonly sensitivity: number;
  readonly noiseMultiplier: number;
  readonly clipNorm: number;
  readonly rounds: number;
  readonly samplingRate: number;
  readonly computedWith: 'analytic Gaussian mechanism' | `RDP accountant of ${AccountantName}`;
  /** The Renyi order that gave epsilon, null for the analytic Gaussian mechanism. */
  readonly order: number | null;
  /** Where units are sampled: epsilon when each takes part in so many rounds at most, whichever these are. */
  readonly withoutSampling: { readonly participations: number; readonly epsilon: number } | null;
  readonly sentences: readonly string[];
}

/** In clip norms. */
export const LEAST_NOISE = 1e-3;
const MOST_NOISE = 1e6;
const MOST_ROUNDS = 1e9;

/** @throws UnusableInputError for numbers out of range, and for one replaced among Poisson samples, whose divergence is not known here */
export function privacyStatement(setting: PrivacySetting): PrivacyStatement {
  requireSense(setting);
  const { noiseMultiplier, clipNorm, delta, unit, adjacency, rounds = 1, samplingRate = 1 } = setting;
  const { epsilon, order } = spentBy(setting);
  const participations = Math.ceil(rounds * samplingRate * (1 - 1e-12));
  const figures = {
    epsilon,
    delta,
    unit,
    adjacency,
    noiseDeviation: noiseMultiplier * clipNorm,
    sensitivity: clipNorm * changesOf(adjacency),
    noiseMultiplier,
    clipNorm,
    rounds,
    samplingRate,
    computedWith:
      order === null
        ? ('analytic Gaussian mechanism' as const)
        : (`RDP accountant of ${accountantOf(setting)}` as const),
    order,
    withoutSampling:
      samplingRate === 1
        ? null
        : { participations, epsilon: spentBy({ ...setting, samplingRate: 1, rounds: participations }).epsilon },
  };
  return { ...figures, sentences: sentencesOf(figures, setting) };
}

/** Relative step in which a noise multiplier for several rounds is searched. */
const NOISE_STEP = 1e-4;

/**
 * The smallest noise multiplier for which a setting's epsilon is at most this one; rounded up.
 *
 * @throws UnusableInputError as `privacyStatement`, and where no noise in the range does it
 */
export function noiseMultiplierFor(epsilon: number, setting: Omit<PrivacySetting, 'noiseMultiplier'>): number {
  requireWithin('epsilon', epsilon, 0, 1e6);
  requireSense({ ...setting, noiseMultiplier: 1 });
  const { delta, adjacency, rounds = 1, samplingRate = 1 } = setting;
  const noise =
    rounds === 1 && samplingRate === 1
      ? noiseOfRelease(epsilon, delta) * changesOf(adjacency)
      : noiseOfRounds(epsilon, setting);
  if (noise > MOST_NOISE) {
    throw unusable(`an epsilon of ${epsilon}`, `one that noise of at most ${MOST_NOISE} clip norms gives`);
  }
  return Math.max(noise, LEAST_NOISE);
}

function noiseOfRounds(epsilon: number, setting: Omit<PrivacySetting, 'noiseMultiplier'>): number {
  const noiseAt = (step: number): number => LEAST_NOISE * Math.exp(NOISE_STEP * Math.ceil(step));
  const suffices = (step: number): boolean => {
    const noiseMultiplier = noiseAt(step);
    return noiseMultiplier > MOST_NOISE || spentBy({ ...setting, noiseMultiplier }).epsilon <= epsilon;
  };
  return noiseAt(leastThat(suffices, 0, 1));
}

function accountantOf({ accountant = ACCOUNTANTS[0] }: PrivacySetting): AccountantName {
  return accountant;
}

/** Sensitivity in clip norms: one that is exchanged takes its own part away and puts another one there. */
function changesOf(adjacency: Adjacency): number {
  return adjacency === 'replace one' ? 2 : 1;
}

function spentBy(setting: PrivacySetting): { epsilon: number; order: number | null } {
  const { noiseMultiplier, adjacency, delta, rounds = 1, samplingRate = 1 } = setting;
  const noise = noiseMultiplier / changesOf(adjacency);
  return rounds === 1 && samplingRate === 1
    ? { epsilon: epsilonOfRelease(noise, delta), order: null }
    : epsilonOfRounds(accountantOf(setting), noise, samplingRate, rounds, delta);
}

function requireSense(setting: PrivacySetting): void {
  const { noiseMultiplier, clipNorm, delta, rounds = 1, samplingRate = 1, adjacency, population = 1 } = setting;
  requireWithin('noise multiplier', noiseMultiplier, LEAST_NOISE, MOST_NOISE);
  requireWithin('clip norm', clipNorm, 1e-12, 1e12);
  requireWithin('delta', delta, 1e-100, 0.5);
  requireWithin('number of rounds', rounds, 1, MOST_ROUNDS, true);
  requireWithin('sampling rate', samplingRate, 1e-9, 1);
  requireWithin('number of units', population, 1, 1e15, true);
  if (adjacency === 'replace one' && samplingRate < 1) {
    throw unusable(
      `adjacency "${adjacency}" with a sampling rate of ${samplingRate}`,
      'adjacency "add or remove one", for which the divergence of Poisson samples is known',
      'Leave the sampling rate out for a larger epsilon that holds for whichever rounds a unit takes part in.',
    );
  }
}

function requireWithin(name: string, value: number, least: number, most: number, isWhole = false): void {
  if (!(value >= least && value <= most) || (isWhole && !Number.isInteger(value))) {
    throw unusable(`a ${name} of ${value}`, `${isWhole ? 'a whole number' : 'a number'} from ${least} to ${most}`);
  }
}

function unusable(found: string, expected: string, advice = 'Correct the number.'): UnusableInputError {
  return new UnusableInputError({ code: 'bad-arguments', file: 'privacy statement', found, expected, advice });
}

/** Four digits, rounded up: what is promised must hold. */
export function epsilonInDigits(epsilon: number): string {
  if (epsilon === 0) {
    return '0';
  }
  const unit = 10 ** (Math.floor(Math.log10(epsilon)) - 3);
  return String(Number((Math.ceil(epsilon / unit - 1e-9) * unit).toPrecision(4)));
}

function deltaInDigits(delta: number): string {
  return delta < 1e-3 ? delta.toExponential() : String(delta);
}

type Figures = Omit<PrivacyStatement, 'sentences'>;

function sentencesOf(figures: Figures, setting: PrivacySetting): string[] {
  return [
    mechanismInWords(figures, setting),
    guaranteeInWords(figures),
    ...populationInWords(figures, setting),
    accountingInWords(figures, setting),
    ...samplingInWords(figures),
    'It protects what is computed from the noisy sums, however often and with whatever else is known, and from every round at once. Whoever adds the noise sees what was there before it.',
    unprotectedInWords(figures, setting),
    `It holds for a mechanism that clips every ${figures.unit} and draws fresh noise in every round, with random numbers that nobody can foresee. It is no statement about one captured update that happens to have noise in it, nor about rounds without the noise.`,
  ];
}

/** What a unit puts into the sum. */
const PARTS: Record<PrivacyUnit, string> = {
  sample: 'the gradient of each sample',
  'client update': 'the whole update of each client',
};

function mechanismInWords(figures: Figures, { population }: PrivacySetting): string {
  const { unit, clipNorm, noiseMultiplier, noiseDeviation, rounds, samplingRate } = figures;
  const size = population === undefined ? '' : ` of ${population}`;
  const batch = population === undefined ? '' : `, ${short(population * samplingRate)} in a round on average`;
  const part =
    samplingRate === 1
      ? `every ${unit}${size} takes part`
      : `each ${unit}${size} takes part with probability ${samplingRate}, independently of the others (Poisson sampling${batch})`;
  const when = rounds === 1 ? 'One sum is released, in which' : `${rounds} sums are released, in each of which`;
  return `Mechanism: ${PARTS[unit]} is clipped to a norm of ${clipNorm}, these are summed, and Gaussian noise of standard deviation ${short(noiseDeviation)} (noise multiplier ${noiseMultiplier} x clip norm ${clipNorm}) is added to every number of the sum, before any division. ${when} ${part}.`;
}

function guaranteeInWords({ epsilon, delta, unit, adjacency, sensitivity }: Figures): string {
  const neighbours = adjacency === 'replace one' ? `one ${unit} replaced by another` : `one ${unit} added or removed`;
  const factor = Math.exp(epsilon);
  const meaning =
    factor > 1e6
      ? 'so large an epsilon promises next to nothing'
      : `whether that happens or not changes the probability of any outcome by a factor of at most ${epsilonInDigits(factor)}, up to ${deltaInDigits(delta)}`;
  return `Guarantee: (epsilon, delta)-differential privacy with epsilon = ${epsilonInDigits(epsilon)} at delta = ${deltaInDigits(delta)}. Unit: one ${unit}. Adjacency: ${neighbours}, which changes a sum by at most ${short(sensitivity)}. In words: ${meaning}.`;
}

function populationInWords({ delta, unit }: Figures, { population }: PrivacySetting): string[] {
  return population === undefined || delta * population < 1
    ? []
    : [
        `Delta is not below 1/${population}: a mechanism that publishes one ${unit} as it is would satisfy it too. Choose a smaller delta.`,
      ];
}

function accountingInWords({ order, rounds }: Figures, setting: PrivacySetting): string {
  return order === null
    ? 'Computed with the analytic Gaussian mechanism (Balle and Wang 2018), which is exact for one release.'
    : `Computed with Renyi differential privacy (Mironov, Talwar and Zhang 2019) over ${rounds === 1 ? 'one round' : `${rounds} rounds`}, converted as Balle et al. 2020, with the orders and sums of ${accountantOf(setting)} (order ${order} gave it): an upper bound.`;
}

function samplingInWords({ withoutSampling, unit }: Figures): string[] {
  if (withoutSampling === null) {
    return [];
  }
  const { participations, epsilon } = withoutSampling;
  return [
    `Shuffled batches and batches of a fixed size are no Poisson samples, and this epsilon is not proved for them. Where each ${unit} takes part in at most ${participations} of the rounds, such as once an epoch, epsilon = ${epsilonInDigits(epsilon)} at the same delta holds, whichever rounds these are, if they are chosen without looking at the data.`,
  ];
}

function unprotectedInWords({ unit, adjacency, rounds, samplingRate }: Figures, setting: PrivacySetting): string {
  const several =
    unit === 'sample'
      ? 'It does not protect a person of whom there are several samples as it protects one sample,'
      : 'It does not protect a client who sends several updates in a round as one,';
  const presence =
    adjacency === 'replace one'
      ? ' nor, as the adjacency is replacing, how many take part.'
      : rounds === 1 && samplingRate === 1
        ? ` nor what is in an update of which it is known that it took part, such as one that is sent by itself: that is replacing one, with epsilon = ${epsilonInDigits(spentBy({ ...setting, adjacency: 'replace one' }).epsilon)} here.`
        : ' nor against exchanging one for another, which is two such steps.';
  return `${several} nor what many have in common, which is what is learned;${presence}`;
}

function short(value: number): string {
  return String(Number(value.toPrecision(4)));
}
