import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ACCOUNTANTS, type AccountantName, epsilonOfRounds } from '../../../src/defences/privacy/accountants.js';
import { epsilonOfRelease, noiseOfRelease } from '../../../src/defences/privacy/analytic-gaussian.js';
import {
  type PrivacySetting,
  epsilonInDigits,
  noiseMultiplierFor,
  privacyStatement,
} from '../../../src/defences/privacy/privacy-statement.js';
import { renyiDivergence } from '../../../src/defences/privacy/sampled-gaussian.js';
import { UnusableInputError } from '../../../src/protocol/errors.js';

type Reference = Record<AccountantName, { epsilon: number; order: number }> & {
  samplingRate: number;
  noiseMultiplier: number;
  rounds: number;
  delta: number;
};

const { rounds: ROUNDS, releases: RELEASES } = JSON.parse(
  readFileSync(join(import.meta.dirname, '..', '..', 'fixtures', 'privacy', 'reference.json'), 'utf8'),
) as { rounds: Reference[]; releases: { epsilon: number; delta: number; noise: number; authors: number }[] };

const SETTING: PrivacySetting = {
  noiseMultiplier: 1,
  clipNorm: 1,
  delta: 1e-5,
  unit: 'sample',
  adjacency: 'add or remove one',
};

/** What is printed, in one line. */
const said = (setting: Partial<PrivacySetting>): string =>
  privacyStatement({ ...SETTING, ...setting }).sentences.join(' ');

describe('several rounds', () => {
  it.each(ROUNDS.flatMap((own) => ACCOUNTANTS.map((name) => [name, own] as const)))(
    'come to what %s says of %j',
    (accountant, reference) => {
      const { samplingRate, noiseMultiplier, rounds, delta } = reference;
      const { epsilon, order } = privacyStatement({
        ...SETTING,
        samplingRate,
        noiseMultiplier,
        rounds,
        delta,
        accountant,
      });
      // A thousandth is what is promised; it is the same arithmetic.
      expect(Math.abs(epsilon - reference[accountant].epsilon)).toBeLessThan(1e-8);
      expect(order).toBe(reference[accountant].order);
    },
  );

  it('are ten settings, in two of which the libraries themselves differ', () => {
    const apart = ROUNDS.filter((own) => own['dp-accounting'].epsilon - own.opacus.epsilon > 1e-3);
    expect([ROUNDS.length, apart.length]).toEqual([10, 2]);
  });

  it('give the divergence that integrating the densities gives, whole order or not', () => {
    const series = { terms: 'signed' as const, mostTerms: 20_000 };
    for (const [rate, noise] of [
      [0.01, 1],
      [0.3, 0.7],
      [0.9, 2],
    ] as const) {
      for (const order of [1.1, 1.7, 2, 3.4, 9]) {
        const wanted = divergenceByIntegral(rate, noise, order);
        expect(renyiDivergence(rate, noise, order, series) / wanted).toBeCloseTo(1, 6);
        const bound = renyiDivergence(rate, noise, order, { terms: 'absolute', mostTerms: 1000 });
        expect(bound).toBeGreaterThan(wanted * (1 - 1e-6));
      }
    }
  });

  it('promise less with each round, each larger share and less noise', () => {
    const epsilon = (setting: Partial<PrivacySetting>): number =>
      privacyStatement({ ...SETTING, rounds: 100, samplingRate: 0.1, ...setting }).epsilon;
    const between = epsilon({});
    expect(epsilon({ rounds: 101 })).toBeGreaterThan(between);
    expect(epsilon({ samplingRate: 0.11 })).toBeGreaterThan(between);
    expect(epsilon({ noiseMultiplier: 0.9 })).toBeGreaterThan(between);
    expect(epsilon({ delta: 1e-6 })).toBeGreaterThan(between);
    expect(epsilon({ samplingRate: 1 })).toBeGreaterThan(between);
  });

  it('never come out below what one release of the same noise costs exactly', () => {
    for (const accountant of ACCOUNTANTS) {
      for (const noise of [0.5, 1, 4, 20]) {
        const { epsilon } = epsilonOfRounds(accountant, noise, 1, 1, 1e-5);
        expect(epsilon).toBeGreaterThanOrEqual(epsilonOfRelease(noise, 1e-5));
      }
    }
  });

  it('tell beside the sampled epsilon the one of TensorFlow Privacy for a sample once an epoch', () => {
    // Its published statement: 10000 examples, 64 an iteration, noise multiplier 2 with microbatches (so 1), 5 epochs.
    const { withoutSampling, epsilon } = privacyStatement({
      ...SETTING,
      delta: 1e-6,
      rounds: 781,
      samplingRate: 64 / 10000,
    });
    expect(withoutSampling?.participations).toBe(5);
    expect(withoutSampling?.epsilon).toBeCloseTo(13.376, 3);
    expect(epsilon).toBeCloseTo(1.616, 2);
  });
});

/** ln of the integral of (p / q)^order q over order - 1, with p = (1 - rate) N(0) + rate N(1), by the trapezoidal rule. */
function divergenceByIntegral(rate: number, noise: number, order: number): number {
  const step = noise / 200;
  let total = 0;
  for (let x = -40 * noise - order; x < 40 * noise + 2 * order; x += step) {
    const ratio = 1 - rate + rate * Math.exp((2 * x - 1) / (2 * noise * noise));
    total += Math.exp(order * Math.log(ratio) - (x * x) / (2 * noise * noise));
  }
  return Math.log((total * step) / (noise * Math.sqrt(2 * Math.PI))) / (order - 1);
}

describe('one release', () => {
  it.each(RELEASES)('needs the noise that was published: %j', ({ epsilon, delta, noise, authors }) => {
    expect(noiseOfRelease(epsilon, delta) / noise).toBeCloseTo(1, 9);
    // The authors' code stops within 1e-12 of delta.
    expect(noiseOfRelease(epsilon, delta) / authors).toBeCloseTo(1, 6);
    expect(epsilonOfRelease(noise, delta)).toBeCloseTo(epsilon, 9);
  });

  it('needs what tests of Google’s library for differential privacy hold', () => {
    // cc/algorithms/numerical-mechanisms_test.cc: rounded up to 1e-3 of it; and 17.922 for a sensitivity of 3 sqrt(2).
    expect(noiseOfRelease(Math.log(3), 1e-5)).toBeCloseTo(3.42578125, 2);
    expect(noiseOfRelease(1, 1e-6) * 3 * Math.SQRT2).toBeCloseTo(17.922, 1);
  });

  it('costs no epsilon where delta alone is as large as the total variation', () => {
    // 2 Phi(1 / (2 noise)) - 1 for noise 10 is 0.0399.
    expect(epsilonOfRelease(10, 0.04)).toBe(0);
    expect(epsilonOfRelease(10, 0.0398)).toBeGreaterThan(0);
  });

  it('is the same in both directions, and rounded so that it holds', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.01, max: 50, noNaN: true }),
        fc.double({ min: 1e-12, max: 0.1, noNaN: true }),
        (epsilon, delta) => {
          const noise = noiseOfRelease(epsilon, delta);
          expect(epsilonOfRelease(noise, delta) / epsilon).toBeCloseTo(1, 7);
          expect(epsilonOfRelease(noise * 1.0001, delta)).toBeLessThan(epsilon);
          expect(epsilonOfRelease(noise * 0.9999, delta)).toBeGreaterThan(epsilon);
        },
      ),
      { numRuns: 100, seed: 1 },
    );
  });
});

describe('the sensitivity', () => {
  it('is the clip norm where one is added or removed, and twice that where one is replaced', () => {
    const one = privacyStatement({ ...SETTING, clipNorm: 0.5, noiseMultiplier: 2 });
    expect(one).toMatchObject({ sensitivity: 0.5, noiseDeviation: 1 });
    const other = privacyStatement({ ...SETTING, clipNorm: 0.5, noiseMultiplier: 4, adjacency: 'replace one' });
    expect(other).toMatchObject({ sensitivity: 1, noiseDeviation: 2 });
    expect(other.epsilon).toBe(one.epsilon);
  });
});

describe('the noise for an epsilon', () => {
  it.each<Partial<PrivacySetting>>([
    {},
    { adjacency: 'replace one' },
    { rounds: 300, samplingRate: 0.02 },
    { rounds: 20, adjacency: 'replace one', accountant: 'opacus' },
  ])('is the smallest that gives it with %j', (own) => {
    const setting = { ...SETTING, ...own };
    const noiseMultiplier = noiseMultiplierFor(1.5, setting);
    expect(privacyStatement({ ...setting, noiseMultiplier }).epsilon).toBeLessThanOrEqual(1.5);
    expect(privacyStatement({ ...setting, noiseMultiplier: noiseMultiplier * 0.999 }).epsilon).toBeGreaterThan(1.5);
  });

  it('is refused where no noise gives it', () => {
    expect(() => noiseMultiplierFor(0, { ...SETTING, delta: 1e-12 })).toThrow(
      /found an epsilon of 0; expected one that/,
    );
  });
});

describe('the sentences', () => {
  it('never tell an epsilon without delta, unit, adjacency and what it is computed with', () => {
    for (const own of [{}, { rounds: 10 }, { rounds: 10, samplingRate: 0.5, population: 1000 }]) {
      const { sentences } = privacyStatement({ ...SETTING, ...own });
      const [first = ''] = sentences.filter((sentence) => sentence.includes('epsilon ='));
      expect(first).toMatch(
        /epsilon = [\d.]+ at delta = 1e-5\. Unit: one sample\. Adjacency: one sample added or removed, which changes a sum by at most 1\./,
      );
      expect(sentences.join(' ')).toContain('Computed with');
      expect(sentences.join(' ')).not.toMatch(/undefined|NaN|Infinity/);
    }
  });

  it('say what the mechanism is: who is clipped, how much noise, how many rounds, who takes part', () => {
    expect(said({ noiseMultiplier: 1.1, clipNorm: 2, rounds: 50, samplingRate: 0.01, population: 6400 })).toContain(
      'Mechanism: the gradient of each sample is clipped to a norm of 2, these are summed, and Gaussian noise of standard deviation 2.2 (noise multiplier 1.1 x clip norm 2) is added to every number of the sum, before any division. 50 sums are released, in each of which each sample of 6400 takes part with probability 0.01, independently of the others (Poisson sampling, 64 in a round on average).',
    );
    expect(said({ unit: 'client update' })).toContain('the whole update of each client is clipped to a norm of 1');
  });

  it('say what is not protected, and that a captured update with noise in it is no such mechanism', () => {
    const text = said({});
    expect(text).toContain('no statement about one captured update that happens to have noise in it');
    expect(text).toContain('a person of whom there are several samples');
    const { epsilon } = privacyStatement({ ...SETTING, adjacency: 'replace one' });
    expect(text).toContain(`that is replacing one, with epsilon = ${epsilonInDigits(epsilon)} here`);
    expect(said({ rounds: 5, samplingRate: 0.1 })).toContain(
      'Shuffled batches and batches of a fixed size are no Poisson',
    );
    expect(said({ noiseMultiplier: 0.1 })).toContain('so large an epsilon promises next to nothing');
  });

  it('say so where delta is as large as one unit published', () => {
    expect(said({ population: 200_000 })).toContain('Delta is not below 1/200000');
    expect(said({ population: 50_000 })).not.toContain('Delta is not below');
  });

  it('round epsilon up', () => {
    expect([0, 1.23411, 1.234, 12345.6, 0.000123441].map(epsilonInDigits)).toEqual([
      '0',
      '1.235',
      '1.234',
      '12350',
      '0.0001235',
    ]);
  });
});

describe('what makes no sense', () => {
  it.each<[Partial<PrivacySetting>, string]>([
    [{ noiseMultiplier: 0 }, 'a noise multiplier of 0'],
    [{ noiseMultiplier: NaN }, 'a noise multiplier of NaN'],
    [{ noiseMultiplier: Infinity }, 'a noise multiplier of Infinity'],
    [{ clipNorm: -1 }, 'a clip norm of -1'],
    [{ delta: 0 }, 'a delta of 0'],
    [{ delta: 1 }, 'a delta of 1'],
    [{ rounds: 1.5 }, 'a number of rounds of 1.5'],
    [{ rounds: 0 }, 'a number of rounds of 0'],
    [{ samplingRate: 0 }, 'a sampling rate of 0'],
    [{ samplingRate: 1.1 }, 'a sampling rate of 1.1'],
    [{ population: 0 }, 'a number of units of 0'],
    [{ adjacency: 'replace one', samplingRate: 0.5 }, 'adjacency "replace one" with a sampling rate of 0.5'],
  ])('is refused in a sentence: %j', (own, found) => {
    const failure = (): unknown => privacyStatement({ ...SETTING, ...own });
    expect(failure).toThrow(UnusableInputError);
    expect(failure).toThrow(`privacy statement: found ${found}; expected`);
  });
});
