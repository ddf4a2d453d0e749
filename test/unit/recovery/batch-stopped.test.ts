import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CancelledError } from '../../../src/protocol/errors.js';
import { softmax } from '../../../src/recovery/activation.js';
import type { BatchRecovery } from '../../../src/recovery/batch/batch-result.js';
import { recoverGroups } from '../../../src/recovery/batch/groups.js';
import { recoverBatch } from '../../../src/recovery/batch/recover-batch.js';
import { type WhitenedHead, whiten } from '../../../src/recovery/batch/whiten.js';
import { gaussian } from '../../../src/recovery/gaussian.js';
import { generator } from '../../../src/recovery/paper-method.js';

/** What a stopped search for the samples of a batch still gives. */

const CLASSES = 24;
const FEATURES = 40;
const FAILURE = new Error('no memory');

/** An untrained head with a bias; `labels` per sample, features of one class differ by `spread`, relative. */
function untrained(labels: readonly number[], spread: number): Promise<WhitenedHead> {
  const random = generator(5);
  const normals = (length: number, deviation: number): Float64Array =>
    Float64Array.from({ length }, () => gaussian(random, deviation));
  const weight = Float64Array.from(Float32Array.from(normals(CLASSES * FEATURES, 0.02)));
  const means = new Map(labels.map((label) => [label, normals(FEATURES, 1)]));
  const weightGradient = new Float64Array(CLASSES * FEATURES);
  const biasGradient = new Float64Array(CLASSES);
  for (const label of labels) {
    const off = normals(FEATURES, spread);
    const x = means.get(label)!.map((value, col) => value + off[col]!);
    const logits = Float64Array.from({ length: CLASSES }, (_, row) =>
      x.reduce((sum, value, col) => sum + weight[row * FEATURES + col]! * value, 0),
    );
    softmax(logits).forEach((p, row) => {
      const own = (p - Number(row === label)) / labels.length;
      biasGradient[row]! += own;
      x.forEach((value, col) => (weightGradient[row * FEATURES + col]! += own * value));
    });
  }
  return whiten(
    {
      weight: { rows: CLASSES, cols: FEATURES, data: weight },
      bias: new Float64Array(CLASSES),
      weightGradient: { rows: CLASSES, cols: FEATURES, data: Float64Array.from(Float32Array.from(weightGradient)) },
      biasGradient: Float64Array.from(Float32Array.from(biasGradient)),
      roundoff: 2 ** -24,
      underflow: 0,
    },
    () => Promise.resolve(),
  );
}

describe('stopping the search for a batch', () => {
  const LABELS = [1, 1, 4, 4, 4, 9, 9, 17];
  const GROUPS = [
    { row: 1, count: 2 },
    { row: 4, count: 3 },
    { row: 9, count: 2 },
    { row: 17, count: 1 },
  ];

  // Every look at the clock is a moment later, so that no step is too short to be stopped in.
  beforeEach(() => {
    let now = 0;
    vi.spyOn(performance, 'now').mockImplementation(() => (now += 40));
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  /** Stops at the first pause that `when` names. */
  const stopped = (
    head: WhitenedHead,
    when: (progress: { found: number; rank: number }) => boolean,
    stop: Error = new CancelledError(),
  ): Promise<BatchRecovery> =>
    recoverBatch(head, {
      timeLimitMs: 1e12,
      pause: (progress) => (when(progress) ? Promise.reject(stop) : Promise.resolve()),
    });
  const groupsIn = ({ samples }: BatchRecovery): { row: number; count: number }[] =>
    samples
      .map(({ label, multiplicity }) => ({ row: label.classes[0]!.index, count: multiplicity }))
      .sort((one, other) => one.row - other.row);

  it('gives nothing, rather than an error, before any group is found', async () => {
    const result = await stopped(await untrained(LABELS, 3e-3), () => true);
    expect(result).toMatchObject({ ended: 'stopped', samples: [], complete: false });
  });

  it('keeps the groups while their samples are sought one by one', async () => {
    const head = await untrained(LABELS, 3e-3);
    expect((await recoverGroups(head, undefined, () => Promise.resolve()))?.found).toMatchObject(GROUPS);
    let sought = 0;
    // The groups' own search reports none as found.
    const result = await stopped(head, ({ found, rank }) => found > 0 && rank === head.svd.rank && ++sought > 0);
    expect(sought).toBe(1);
    expect(result.ended).toBe('stopped');
    expect(groupsIn(result)).toEqual(GROUPS);
    expect(result.unexplained).toBeLessThan(0.02);
  });

  it('says that it was stopped when that was at a lower rank than the full one', async () => {
    const head = await untrained(LABELS, 3e-3);
    const result = await stopped(head, ({ rank }) => rank < head.svd.rank);
    expect(result.ended).toBe('stopped');
    expect(groupsIn(result)).toEqual(GROUPS);
  });

  it('throws every other error on', async () => {
    const head = await untrained(LABELS, 3e-3);
    await expect(stopped(head, () => true, FAILURE)).rejects.toBe(FAILURE);
    await expect(stopped(head, ({ found }) => found > 0, FAILURE)).rejects.toBe(FAILURE);
  });
});
