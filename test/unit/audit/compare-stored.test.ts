import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compareStored } from '../../../src/audit/compare-stored.js';
import { readStored } from '../../../src/audit/output.js';
import { runAudit } from '../../../src/audit/run-audit.js';
import { upgradeReport } from '../../../src/audit/upgrade-report.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import type { ReconstructionRequest } from '../../../src/protocol/audit-request.js';
import { CancelledError, UnusableInputError } from '../../../src/protocol/errors.js';
import type { Report, SampleReport } from '../../../src/protocol/report.js';
import { NETWORKS } from '../../networks.js';

/** A truth that is chosen when the audit is done tells the same errors as one that was given with it, and changes nothing else. */

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures');
const BATCH = join(FIXTURES, 'batches', 'trained-smoothed-bias-s0');
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-compare-'));
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };
const reconstruction: ReconstructionRequest = {
  attack: 'chain',
  preset: 'soft-label',
  engine: 'auto',
  timeLimitSeconds: 10,
};

/** Audits a copy that has no truth beside it. */
async function auditApart(from: string, out: string): Promise<void> {
  const folder = join(scratch, `${out}-dump`);
  cpSync(from, folder, { recursive: true });
  rmSync(join(folder, 'truth.json'));
  await runAudit({ ...pathsInFolder(folder), method: 'auto', reconstruction, out: join(scratch, out) }, hooks);
}

async function auditWithTruth(from: string): Promise<Report> {
  const request = { ...pathsInFolder(from), method: 'auto' as const, reconstruction };
  return (await runAudit({ ...request, truth: join(from, 'truth.json') }, hooks)).report;
}

function stored(out: string): Report {
  const report = upgradeReport(readStored(join(scratch, out)));
  if (!report) {
    throw new Error(`no report in ${out}`);
  }
  return report;
}

/** Without what is measured against a truth. */
function recovered({ samples, verdict, findings, batch }: Report): object {
  return {
    verdict,
    findings,
    batch,
    samples: samples.map((sample) => ({ ...sample, reconstruction: withoutErrors(sample.reconstruction) })),
  };
}

function withoutErrors(own: SampleReport['reconstruction']): object | undefined {
  const { mse: _m, psnr: _p, psnr8bit: _b, psnrFitted: _f, ssim: _s, truthFile: _t, ...rest } = own ?? {};
  return own && rest;
}

const mlp = join(NETWORKS, 'mlp');

beforeAll(async () => {
  await auditApart(mlp, 'one');
  await auditApart(BATCH, 'batch');
}, 60_000);
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

const compare = (out: string, truth: string): Promise<void> => compareStored(join(scratch, out), truth, hooks.pause);

describe('a truth that is chosen afterwards', () => {
  it('measures label and input of one sample as one that was given', async () => {
    const before = stored('one');
    expect(before.truth).toBeUndefined();
    await compare('one', join(mlp, 'truth.json'));
    const [after, given] = [stored('one'), await auditWithTruth(mlp)];
    expect(after.truth?.chosenAfterwards).toBe(true);
    expect(after.truth?.samples[0]?.labelMaxError).toBeCloseTo(given.truth?.samples[0]?.labelMaxError ?? NaN, 9);
    const [own, wanted] = [after.samples[0]?.reconstruction, given.samples[0]?.reconstruction];
    // The stored input is rounded to float32, as the true one is.
    expect(wanted?.mse).toBeLessThan(1e-9);
    expect(own?.mse).toBeLessThan(1e-9);
    expect(own?.truthFile).toBe('truth-0.npy');
    expect(recovered(after)).toEqual(recovered(before));
    expect(after.inputs.files?.filter(({ role }) => role === 'truth').map(({ path }) => path)).toContain(
      join(mlp, 'truth.json'),
    );
  });

  it('finds the true sample of each of a batch, and measures its feature', async () => {
    const before = stored('batch');
    await compare('batch', join(BATCH, 'truth.json'));
    const [after, given] = [stored('batch'), await auditWithTruth(BATCH)];
    expect(after.truth?.missed).toBe(0);
    expect(after.truth?.countErrors).toBe(given.truth?.countErrors);
    expect(after.truth?.samples.map(({ truthRow }) => truthRow)).toEqual(
      given.truth?.samples.map(({ truthRow }) => truthRow),
    );
    expect(after.truth?.samples.map(({ featureRelativeError }) => featureRelativeError)).toEqual(
      given.truth?.samples.map(({ featureRelativeError }) => featureRelativeError),
    );
    expect(recovered(after)).toEqual(recovered(before));
  });

  it('takes the place of an earlier one, with nothing left of that', async () => {
    const labelsOnly = join(scratch, 'labels.json');
    const { labels } = JSON.parse(readFileSync(join(mlp, 'truth.json'), 'utf8')) as { labels: number[][] };
    writeFileSync(labelsOnly, JSON.stringify({ labels }));
    await compare('one', join(mlp, 'truth.json'));
    await compare('one', labelsOnly);
    const { truth, samples, inputs } = stored('one');
    expect(truth?.path).toBe(labelsOnly);
    expect(truth?.samples[0]?.featureRelativeError).toBeNull();
    expect(samples[0]?.reconstruction).not.toHaveProperty('psnr');
    expect(samples[0]?.reconstruction).not.toHaveProperty('truthFile');
    expect(inputs.files?.filter(({ role }) => role === 'truth')).toHaveLength(1);
  });

  it('of another model is refused in a sentence, and the report stays as it was', async () => {
    const path = join(scratch, 'one', 'report.json');
    const before = readFileSync(path, 'utf8');
    const failure = await compare('one', join(BATCH, 'truth.json')).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(UnusableInputError);
    expect((failure as Error).message).toContain('no labels, features or inputs of the sizes that were recovered');
    await expect(compare('one', join(mlp, 'capture.json'))).rejects.toThrow(UnusableInputError);
    expect(readFileSync(path, 'utf8')).toBe(before);
  });

  it('stops when it is told to, and the report stays as it was', async () => {
    const path = join(scratch, 'one', 'report.json');
    const before = readFileSync(path, 'utf8');
    const stop = (): Promise<void> => Promise.reject(new CancelledError());
    await expect(compareStored(join(scratch, 'one'), join(mlp, 'truth.json'), stop)).rejects.toThrow(CancelledError);
    expect(readFileSync(path, 'utf8')).toBe(before);
  });
});
