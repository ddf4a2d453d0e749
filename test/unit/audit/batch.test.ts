import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import { runAudit } from '../../../src/audit/run-audit.js';
import type { AuditRequest } from '../../../src/protocol/audit-request.js';
import { CancelledError } from '../../../src/protocol/errors.js';
import type { Report } from '../../../src/protocol/report.js';

/** Batches captured from PyTorch networks (test/bench/make_batches.py), with the truth of every sample. */

const BATCHES = join(import.meta.dirname, '..', '..', 'fixtures', 'batches');
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };

async function audit(name: string, more: Partial<AuditRequest> = {}): Promise<Report> {
  const folder = join(BATCHES, `${name}-s0`);
  const { report } = await runAudit(
    { ...pathsInFolder(folder), method: 'auto', truth: join(folder, 'truth.json'), ...more },
    hooks,
  );
  return report;
}

function countsOf(name: string, classes: number): number[] {
  const { given } = JSON.parse(readFileSync(join(BATCHES, `${name}-s0`, 'truth.json'), 'utf8')) as { given: number[] };
  const counts = new Array<number>(classes).fill(0);
  for (const row of given) {
    counts[row]!++;
  }
  return counts;
}

describe('every sample of a batch', () => {
  it.each([
    ['untrained-hard-bias', 'hard'],
    ['untrained-hard-nobias', 'hard'],
    ['untrained-smoothed-bias', 'smoothed'],
    ['untrained-smoothed-nobias', 'smoothed'],
    ['untrained-mixup-bias', 'mixup'],
    ['trained-hard-bias', 'hard'],
    ['trained-hard-nobias', 'hard'],
    ['trained-smoothed-bias', 'smoothed'],
    ['trained-smoothed-nobias', 'smoothed'],
  ])('%s: label and feature of all eight, and no ninth', async (name, kind) => {
    const { samples, truth, batch, verdict, consistency } = await audit(name);
    expect(batch).toMatchObject({ size: 8, found: 8 });
    expect(batch.explained).toBeGreaterThan(0.999);
    expect(samples).toHaveLength(8);
    expect(truth?.missed).toBe(0);
    for (const [index, own] of truth!.samples.entries()) {
      expect(own.truthRow).not.toBeNull();
      expect(own.labelMaxError).toBeLessThan(1e-4);
      expect(own.featureRelativeError).toBeLessThan(1e-3);
      expect(samples[index]!.label.kind).toBe(kind);
      expect(samples[index]!.featureError! * 20 + 1e-6).toBeGreaterThan(own.featureRelativeError!);
    }
    expect(samples.reduce((sum, { share = 0 }) => sum + share, 0)).toBeCloseTo(1, 2);
    expect(verdict).toMatchObject({ outcome: 'leaks' });
    expect(consistency.find(({ id }) => id === 'batch-explained')?.status).toBe('pass');
  });

  it('reports two samples that one gradient does not part as a group', async () => {
    const { samples, truth, batch, labelCounts } = await audit('untrained-twins');
    expect(batch).toMatchObject({ size: 6, found: 6 });
    expect(samples.map(({ multiplicity }) => multiplicity).sort()).toEqual([1, 1, 1, 1, 2]);
    expect(truth?.missed).toBe(0);
    expect(labelCounts?.agreed).toEqual(countsOf('untrained-twins', 40));
  });

  it('finds class multiplicities where single samples are too many for K', async () => {
    const { labelCounts, truth, samples } = await audit('untrained-crowded');
    expect(labelCounts?.agreed).toEqual(countsOf('untrained-crowded', 40));
    expect(truth?.samples.every(({ truthRow }) => truthRow !== null)).toBe(true);
    expect(samples.length).toBeLessThan(30);
  });

  it('says how well it knows features from noisy gradients', async () => {
    const { samples, truth } = await audit('untrained-noise');
    expect(samples.reduce((sum, { multiplicity = 1 }) => sum + multiplicity, 0)).toBe(6);
    for (const [index, own] of truth!.samples.entries()) {
      expect(own.labelMaxError).toBeLessThan(1e-2);
      expect(own.featureRelativeError).toBeLessThan(0.05);
      expect(samples[index]!.featureError).toBeGreaterThan(1e-3);
    }
  });

  it.each([
    ['untrained-hard-nobias', 'untrained-smoothed-nobias'],
    ['trained-hard-bias', 'trained-smoothed-bias'],
    ['untrained-hard-bias', 'trained-hard-bias'],
  ])('makes up no sample from the gradient of %s and the checkpoint of %s', async (name, other) => {
    const { checkpoint } = pathsInFolder(join(BATCHES, `${other}-s0`));
    const { samples } = await audit(name, { checkpoint, batchTimeLimitSeconds: 5 });
    expect(samples).toEqual([]);
  });

  it('takes the size that the user states for the counts', async () => {
    const { checkpoint } = pathsInFolder(join(BATCHES, 'trained-hard-bias-s0'));
    const { batch } = await audit('untrained-hard-bias', { checkpoint, batchSize: 8, batchTimeLimitSeconds: 3 });
    expect(batch).toMatchObject({ size: 8, found: 0 });
  });

  it('keeps what it has found when it is stopped', async () => {
    const report = await stoppedAt('trained-smoothed-bias-s0', 'Recovering samples');
    expect(report.cancelled).toBe(true);
    expect(report.batch.lowerBound).toBe(8);
    expect(report.samples.length).toBeLessThanOrEqual(8);
  });

  it('keeps the counts when it is stopped while groups are sought', async () => {
    const report = await stoppedAt('untrained-crowded-s0', 'Recovering samples one by one: 0 found');
    expect(report.cancelled).toBe(true);
    expect(report.samples).toEqual([]);
    expect(report.labelCounts?.estimators.length).toBeGreaterThan(2);
  });
});

/** The report of an audit that is stopped once it tells of what begins so. */
async function stoppedAt(batch: string, message: string): Promise<Report> {
  // Every look at the clock is a moment later, so that no step is too short to be stopped in.
  let now = performance.now();
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => (now += 40));
  let stop = false;
  try {
    const { report } = await runAudit(
      { ...pathsInFolder(join(BATCHES, batch)), method: 'auto' },
      {
        progress: (step) => {
          stop ||= step.message.startsWith(message);
        },
        pause: () => (stop ? Promise.reject(new CancelledError()) : Promise.resolve()),
      },
    );
    expect(stop).toBe(true);
    return report;
  } finally {
    clock.mockRestore();
  }
}
