import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { epsilonOfRounds } from '../../../src/defences/privacy/accountants.js';
import { noiseOfRelease } from '../../../src/defences/privacy/analytic-gaussian.js';
import type { PrivacyStatement } from '../../../src/defences/privacy/privacy-statement.js';
import { cli } from '../../run-cli.js';

const epsilon = (...args: string[]): ReturnType<typeof cli> => cli('epsilon', ...args);

const asJson = async (...args: string[]): Promise<PrivacyStatement> =>
  JSON.parse((await epsilon(...args, '--json')).out) as PrivacyStatement;

describe('gradleak epsilon', () => {
  it('tells the statement of one release, with unit and adjacency though nobody named them', async () => {
    const { code, out, err } = await epsilon('--noise-multiplier', '1.1', '--delta', '1e-5');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const text = out.replace(/\s+/g, ' ');
    expect(text).toContain('epsilon = 3.922 at delta = 1e-5. Unit: one sample. Adjacency: one sample added or removed');
    expect(text).toContain('(Balle and Wang 2018)');
    expect(Math.max(...out.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(100);
  });

  it('gives numbers and sentences as JSON', async () => {
    const own = await asJson(
      ...['--noise-multiplier', '1', '--delta', '1e-6', '--clip-norm', '0.5', '--rounds', '782'],
      ...['--sampling-rate', '0.0064', '--unit', 'client-update', '--population', '10000'],
    );
    expect(own).toMatchObject({
      clipNorm: 0.5,
      noiseDeviation: 0.5,
      rounds: 782,
      samplingRate: 0.0064,
      unit: 'client update',
      adjacency: 'add or remove one',
      computedWith: 'RDP accountant of dp-accounting',
    });
    // TensorFlow Privacy's published statement for these numbers.
    expect(own.epsilon).toBeCloseTo(1.616, 3);
    expect(own.sentences.length).toBeGreaterThan(5);
  });

  it('goes the other way: the least noise for an epsilon, rounded up', async () => {
    const own = await asJson('--epsilon', '1', '--delta', '1e-5');
    expect(own.noiseMultiplier).toBeGreaterThanOrEqual(noiseOfRelease(1, 1e-5));
    expect(own.noiseMultiplier / noiseOfRelease(1, 1e-5)).toBeCloseTo(1, 4);
    expect(own.epsilon).toBeLessThanOrEqual(1);
    const replaced = await asJson('--epsilon', '1', '--delta', '1e-5', '--adjacency', 'replace');
    expect(replaced.noiseMultiplier / own.noiseMultiplier).toBeCloseTo(2, 3);
  });

  it.each([
    [[], 'no --delta'],
    [['--delta', '1e-5'], 'no --noise-multiplier'],
    [['--delta', '1e-5', '--noise-multiplier', '1', '--epsilon', '1'], '--noise-multiplier with --epsilon'],
    [['--delta', '1e-5', '--noise-multiplier', '0'], 'a noise multiplier of 0'],
    [['--delta', '2', '--noise-multiplier', '1'], 'a delta of 2'],
    [['--delta', '1e-5', '--noise-multiplier', '1', '--rounds', '2.5'], '--rounds 2.5'],
    [['--delta', '1e-5', '--noise-multiplier', '1', '--unit', 'user'], '--unit user'],
    [['--delta', '1e-5', '--noise-multiplier', '1', '--accountant', 'zcdp'], '--accountant zcdp'],
    [
      ['--delta', '1e-5', '--noise-multiplier', '1', '--adjacency', 'replace', '--sampling-rate', '0.1'],
      'adjacency "replace one" with a sampling rate of 0.1',
    ],
    [['gradient.pt'], '"gradient.pt"'],
  ])('refuses %j', async (args, found) => {
    const { code, out, err } = await epsilon(...args);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(`found ${found}`);
  });
});

describe('docs/privacy-statement.md', () => {
  const page = readFileSync(join(import.meta.dirname, '..', '..', '..', 'docs', 'privacy-statement.md'), 'utf8');
  const rows = [...page.matchAll(/^\| (.*) \|$/gm)].map(([, row = '']) => row.split('|').map((cell) => cell.trim()));

  it('holds what is computed, beside what the libraries compute', () => {
    const rounds = rows.filter((row) => row.length === 8 && Number.isFinite(Number(row[0])));
    expect(rounds).toHaveLength(10);
    for (const row of rounds) {
      const [rate = 0, noise = 0, count = 0, delta = 0, theirs = 0, ours = 0, opacus = 0, oursAsOpacus = 0] =
        row.map(Number);
      expect(epsilonOfRounds('dp-accounting', noise, rate, count, delta).epsilon).toBeCloseTo(ours, 4);
      expect(epsilonOfRounds('opacus', noise, rate, count, delta).epsilon).toBeCloseTo(oursAsOpacus, 4);
      expect(Math.abs(theirs - ours)).toBeLessThan(1e-3);
      expect(Math.abs(opacus - oursAsOpacus)).toBeLessThan(1e-3);
    }
    const releases = rows.filter((row) => row.length === 5 && Number.isFinite(Number(row[0])));
    expect(releases).toHaveLength(8);
    for (const row of releases) {
      const [epsilonOf = 0, delta = 0, , , ours = 0] = row.map(Number);
      expect(noiseOfRelease(epsilonOf, delta)).toBeCloseTo(ours, 5);
    }
  });
});
