import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { openTensorFile } from '../../src/formats/open.js';
import { recoverBatch } from '../../src/recovery/batch/recover-batch.js';
import { whiten } from '../../src/recovery/batch/whiten.js';
import { estimateBatch } from '../../src/recovery/batch/batch-size.js';
import type { HeadGradient } from '../../src/recovery/head-gradient.js';
import { countLabels } from '../../src/recovery/label-counts.js';
import { generator } from '../../src/recovery/paper-method.js';
import { syntheticBatch } from '../write-fixtures.js';

/** Batches: what the search costs, and label counts beside the published estimators on the same gradients. */

const pause = (): Promise<void> => Promise.resolve();

export interface BatchCost {
  readonly classes: number;
  readonly batch: number;
  readonly found: number;
  readonly seconds: number;
}

/** Time of factoring and search, one untrained head of 512 features each, hard labels, no bias. */
export async function costs(sizes: readonly (readonly [number, number])[]): Promise<BatchCost[]> {
  const out: BatchCost[] = [];
  for (const [classes, batch] of sizes) {
    const { weight, gradient } = syntheticBatch({ classes, features: 512, batch, random: generator(classes + batch) });
    const matrix = (data: ArrayLike<number>) => ({ rows: classes, cols: 512, data: Float64Array.from(data) });
    const head: HeadGradient = {
      weight: matrix(weight.data),
      bias: undefined,
      weightGradient: matrix(gradient.data),
      biasGradient: undefined,
      roundoff: 2 ** -24,
      underflow: 0,
    };
    const started = performance.now();
    const { samples } = await recoverBatch(await whiten(head, pause), { timeLimitMs: 120_000, pause });
    const found = samples.reduce((sum, { multiplicity }) => sum + multiplicity, 0);
    out.push({ classes, batch, found, seconds: (performance.now() - started) / 1000 });
  }
  return out;
}

export interface CountAccuracy {
  readonly group: string;
  readonly estimator: string;
  readonly batches: number;
  /** Batches whose every class was counted right. */
  readonly exact: number;
  /** Share of labels that are right, as iLRG's LnAcc. */
  readonly labels: number;
}

/** Hard-labelled batches of a folder that make_batches.py wrote, by trained and untrained heads. */
export async function counts(folder: string): Promise<CountAccuracy[]> {
  const sums = new Map<string, { batches: number; exact: number; right: number; all: number }>();
  for (const name of readdirSync(folder)) {
    const dump = join(folder, name);
    if (!/^(un)?trained-hard/.test(name) || !existsSync(join(dump, 'truth.json'))) {
      continue;
    }
    const truth = JSON.parse(readFileSync(join(dump, 'truth.json'), 'utf8')) as { given: number[]; classes: number };
    const expected = new Array<number>(truth.classes).fill(0);
    for (const index of truth.given) {
      expected[index]!++;
    }
    const head = readHead(dump);
    const whitened = await whiten(head, pause);
    const estimate = await estimateBatch(head, whitened, pause);
    const { estimators } = await countLabels(head, truth.given.length, pause);
    const { samples } = await recoverBatch(whitened, { timeLimitMs: 60_000, counts: estimate.counts, pause });
    const ours = new Array<number>(truth.classes).fill(0);
    for (const { label, multiplicity } of samples) {
      ours[label.classes[0]!.index]! += multiplicity;
    }
    const group = name.startsWith('un') ? 'untrained' : 'trained';
    for (const { name: estimator, counts: found } of [...estimators, { name: 'samples, one by one', counts: ours }]) {
      const key = `${group}|${estimator}`;
      const sum = sums.get(key) ?? { batches: 0, exact: 0, right: 0, all: 0 };
      sum.batches++;
      sum.exact += Number(expected.every((count, index) => count === found[index]));
      sum.right += expected.reduce((all, count, index) => all + Math.min(count, found[index]!), 0);
      sum.all += truth.given.length;
      sums.set(key, sum);
    }
  }
  return [...sums].map(([key, { batches, exact, right, all }]) => {
    const [group = '', estimator = ''] = key.split('|');
    return { group, estimator, batches, exact, labels: right / all };
  });
}

function readHead(dump: string): HeadGradient {
  const checkpoint = openTensorFile(join(dump, 'checkpoint.safetensors'));
  const gradient = openTensorFile(join(dump, 'gradient.safetensors'));
  try {
    const { shape = [] } = checkpoint.entries.find(({ name }) => name === 'head.weight') ?? {};
    const [rows = 0, cols = 0] = shape;
    const hasBias = checkpoint.entries.some(({ name }) => name === 'head.bias');
    return {
      weight: { rows, cols, data: checkpoint.read('head.weight').data },
      bias: hasBias ? checkpoint.read('head.bias').data : undefined,
      weightGradient: { rows, cols, data: gradient.read('head.weight').data },
      biasGradient: hasBias ? gradient.read('head.bias').data : undefined,
      roundoff: 2 ** -24,
      underflow: 0,
    };
  } finally {
    checkpoint.close();
    gradient.close();
  }
}
