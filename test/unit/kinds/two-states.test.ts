import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { UnusableInputError } from '../../../src/protocol/errors.js';
import type { Report } from '../../../src/protocol/report.js';

/** Weights before and after that PyTorch and numpy wrote (test/fixtures/make_update_fixtures.py): one sample of class 7. */

const UPDATES = join(import.meta.dirname, '..', '..', 'fixtures', 'updates');
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };

async function audited(checkpoint: string, gradients: string): Promise<Report> {
  const paths = { checkpoint: join(UPDATES, checkpoint), gradients: join(UPDATES, gradients) };
  return (await runAudit({ ...paths, method: 'auto' }, hooks)).report;
}

async function refusal(checkpoint: string, gradients: string): Promise<UnusableInputError> {
  const error: unknown = await audited(checkpoint, gradients).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(UnusableInputError);
  return error as UnusableInputError;
}

describe('weights before and after', () => {
  it.each([
    ['before.pt', 'after.pt'],
    ['before.pt', 'nested.pt'],
    ['before.pt', 'after.npz'],
    ['before.pt', 'after.pkl'],
    ['before.pt', 'parameters.pt'],
  ])('%s and %s are one step, whose label and rate are told', async (checkpoint, gradients) => {
    const { update, samples, consistency } = await audited(checkpoint, gradients);
    expect(update).toMatchObject({ kind: 'difference', sign: -1, signToldBy: 'files' });
    expect(samples).toHaveLength(1);
    expect(samples[0]).toMatchObject({ status: 'recovered', label: { kind: 'hard', classes: [{ index: 7 }] } });
    expect(samples[0]?.gradientScale).toBeCloseTo(0.1, 5);
    expect(consistency.find(({ id }) => id === 'names-and-shapes')?.status).toBe('pass');
  });

  it('without any names are matched by place, statistics of normalisation left out', async () => {
    const { update, consistency } = await audited('before.npz', 'after.npz');
    expect(update).toMatchObject({ kind: 'difference', sign: -1, signToldBy: 'files', steps: 1 });
    expect(consistency.find(({ id }) => id === 'names-and-shapes')?.detail).toMatch(/^8 of 14 tensors match/);
  });

  it('of several steps are no gradient', async () => {
    const { update, verdict, samples } = await audited('before.pt', 'five-steps.pt');
    expect(update).toMatchObject({ kind: 'several-steps', steps: 5 });
    expect(verdict.outcome).toBe('not-assessed');
    expect(samples).toEqual([]);
  });

  it('are told to be swapped by the batches that they have seen', async () => {
    expect((await refusal('after.pt', 'before.pt')).code).toBe('swapped-files');
  });

  it('of two models of one shape are no update', async () => {
    const error = await refusal('before.pt', 'other.pt');
    expect(error.code).toBe('not-a-gradient');
    expect(error.parts.found).toMatch(/weights/);
  });

  it('that are equal have no update', async () => {
    expect((await refusal('before.pt', 'before.pt')).code).toBe('same-file');
  });
});

it('weight decay tells the sign of a difference, and is taken off', async () => {
  const { update, samples } = await audited('before.pt', 'decay-before-minus-after.pt');
  expect(update).toMatchObject({ kind: 'difference', sign: 1 });
  expect(update?.reasons.join(' ')).toMatch(/It holds 0\.0000(500|499) times the weights/);
  expect(samples[0]).toMatchObject({ status: 'recovered', label: { kind: 'hard', classes: [{ index: 7 }] } });
  expect(samples[0]?.gradientScale).toBeCloseTo(0.01, 5);
});
