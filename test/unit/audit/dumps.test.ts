import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import { runAudit } from '../../../src/audit/run-audit.js';

/** Gradients that PyTorch wrote (test/fixtures/make_fixtures.py), audited without hint or truth. */

const DUMPS = join(import.meta.dirname, '..', '..', 'fixtures', 'dumps');
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };

interface Truth {
  labels: number[][];
  feature: number[][];
  label_kind: 'hard' | 'smooth' | 'mixup' | 'mixup+smooth' | 'other';
  label_params: { eps?: number };
  batch: number;
  scale?: number;
  classes?: number[];
}

const KINDS = {
  hard: 'hard',
  smooth: 'smoothed',
  mixup: 'mixup',
  'mixup+smooth': 'mixup-smoothed',
  other: 'other',
} as const;

function truthOf(name: string): Truth {
  return JSON.parse(readFileSync(join(DUMPS, name, 'truth.json'), 'utf8')) as Truth;
}

const names = readdirSync(DUMPS);
const exact = names.filter((name) => !/^(batch|dense|noise|bfloat16_gradient|float16_gradient)/.test(name));

function distance(found: readonly number[], expected: readonly number[]): number {
  expect(found).toHaveLength(expected.length);
  return found.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);
}

function relative(found: Float64Array, expected: readonly number[]): number {
  const difference = expected.reduce((sum, value, i) => sum + (value - found[i]!) ** 2, 0);
  return Math.sqrt(difference / expected.reduce((sum, value) => sum + value * value, 0));
}

async function auditDump(name: string): Promise<ReturnType<typeof runAudit>> {
  return runAudit({ ...pathsInFolder(join(DUMPS, name)), method: 'auto' }, hooks);
}

describe('single samples, exact', () => {
  it.each(exact)('%s', async (name) => {
    const truth = truthOf(name);
    const { report, features } = await auditDump(name);
    const [sample] = report.samples;
    expect(report.batch.size).toBe(1);
    expect(sample?.status).toBe('recovered');
    expect(sample?.label.kind).toBe(KINDS[truth.label_kind]);
    expect(distance(sample?.label.probabilities ?? [], truth.labels[0]!)).toBeLessThan(1e-5);
    expect(relative(features[0]!, truth.feature[0]!)).toBeLessThan(1e-4);
    expect(sample?.label.smoothing).toBeCloseTo(truth.label_params.eps ?? 0, 4);
    expect(sample?.gradientScale).toBeCloseTo(truth.scale ?? 1, 5);
    expect(report.verdict.outcome).toBe('leaks');
    expect(report.consistency.filter(({ status }) => status === 'fail')).toEqual([]);
  });
});

describe('half precision and noise', () => {
  it.each([
    ['bfloat16_gradient', 1e-3, 3e-3],
    ['float16_gradient', 1e-3, 3e-3],
    ['noise_0.0001', 1e-3, 1e-3],
    ['noise_0.001', 3e-3, 5e-3],
  ])('%s', async (name, labelBound, featureBound) => {
    const truth = truthOf(name);
    const { report, features } = await auditDump(name);
    const [sample] = report.samples;
    expect(sample?.status).toBe('recovered');
    expect(sample?.label.kind).toBe(KINDS[truth.label_kind]);
    expect(distance(sample?.label.probabilities ?? [], truth.labels[0]!)).toBeLessThan(labelBound);
    expect(relative(features[0]!, truth.feature[0]!)).toBeLessThan(featureBound);
  });
});

describe('what is not certain is said so', () => {
  it('a dense label with a bias gradient is exact but could be another checkpoint', async () => {
    const { report } = await auditDump('dense_bias');
    expect(report.samples[0]?.status).toBe('ambiguous');
    expect(distance(report.samples[0]?.label.probabilities ?? [], truthOf('dense_bias').labels[0]!)).toBeLessThan(1e-5);
  });

  it('a dense label without one is not identifiable', async () => {
    const { report } = await auditDump('dense_nobias');
    expect(report.samples[0]?.status).toBe('not-identifiable');
    expect(report.verdict.outcome).toBe('mismatch');
  });

  it('confident samples lie beyond the published search', async () => {
    const automatic = await auditDump('confident_nobias');
    expect(Math.abs(automatic.report.samples[0]?.scalar ?? 0)).toBeGreaterThan(50);
    const paper = await runAudit({ ...pathsInFolder(join(DUMPS, 'confident_nobias')), method: 'paper' }, hooks);
    expect(paper.report.samples[0]?.status).not.toBe('recovered');
  });
});

describe('batches', () => {
  it('counts labels, repeated ones included, when there is a bias gradient', async () => {
    const { report } = await auditDump('batch6_bias');
    expect(report.batch.size).toBe(6);
    expect(report.samples).toEqual([]);
    expect(report.labelCounts?.estimators.length).toBeGreaterThanOrEqual(3);
    expect(report.labelCounts?.agreed).toEqual([0, 2, 0, 0, 1, 0, 0, 3, 0, 0]);
  });

  it('leaves open without one what the estimators dispute', async () => {
    const { report } = await auditDump('batch6_nobias');
    expect(report.labelCounts?.estimators).toHaveLength(3);
    report.labelCounts?.agreed.forEach((count, index) => {
      const votes = report.labelCounts?.estimators
        .filter(({ multiplicity }) => multiplicity)
        .map(({ counts }) => counts[index]);
      expect(count).toBe(new Set(votes).size === 1 ? votes?.[0] : null);
    });
  });
});

describe('gradients of other checkpoints', () => {
  const group = (pattern: RegExp): string[] => names.filter((name) => pattern.test(name));
  it.each([
    ['K = 10, no bias', group(/^k10_.*_nobias/)],
    ['K = 10, bias', group(/^k10_.*_bias/)],
    ['K = 100, no bias', group(/^k100_.*_nobias/)],
  ])('%s: never called recovered', async (_name, members) => {
    for (const checkpoint of members) {
      for (const gradients of members.filter((name) => name !== checkpoint)) {
        const request = {
          checkpoint: join(DUMPS, checkpoint, 'checkpoint.pt'),
          gradients: join(DUMPS, gradients, 'gradient.pt'),
          method: 'auto' as const,
        };
        const { report } = await runAudit(request, hooks);
        expect(report.samples[0]?.status).toBe('not-identifiable');
      }
    }
  });
});
