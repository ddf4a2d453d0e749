import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathsInFolder } from '../../src/facts/inputs.js';
import type { AuditRequest, ReconstructionRequest } from '../../src/protocol/audit-request.js';
import { openTensorFile } from '../../src/formats/open.js';
import { writeSafetensors } from '../write-fixtures.js';

/** Audits whose reports are kept, word for word, beside this file: one of every way an audit can end. */

const FIXTURES = join(import.meta.dirname, '..', 'fixtures');

export interface GoldenCase {
  /** Also the name of its files. */
  readonly name: string;
  /** @param scratch a folder that the case may write to */
  request(scratch: string): AuditRequest;
}

const dump = (name: string, folder: string): GoldenCase => ({
  name,
  request: () => ({ ...pathsInFolder(join(FIXTURES, folder)), method: 'auto' }),
});

/** A checkpoint of `test/fixtures/kinds` with one of the files that a client may send in place of a gradient. */
const update = (name: string, folder: string, file: string): GoldenCase => ({
  name,
  request: () => ({
    checkpoint: join(FIXTURES, 'kinds', folder, 'checkpoint.pt'),
    gradients: join(FIXTURES, 'kinds', folder, file),
    method: 'auto',
  }),
});

/** A dump with Gaussian noise on every number, the same on every machine. */
const noisy = (name: string, folder: string, deviation: number): GoldenCase => ({
  name,
  request: (scratch) => {
    const { checkpoint, gradients } = pathsInFolder(join(FIXTURES, folder));
    const path = join(scratch, `${name}.safetensors`);
    writeNoisy(gradients, path, deviation);
    return { checkpoint, gradients: path, method: 'auto' };
  },
});

/** Every number of a file with Gaussian noise, the same on every machine. */
export function writeNoisy(from: string, path: string, deviation: number): void {
  const file = openTensorFile(from);
  const normal = normals(7);
  try {
    writeSafetensors(
      path,
      Object.fromEntries(
        file.entries.map(({ name: tensor, shape }) => [
          tensor,
          {
            shape: [...shape],
            data: Float32Array.from(file.read(tensor).data, (value) => value + deviation * normal()),
          },
        ]),
      ),
    );
  } finally {
    file.close();
  }
}

/** With a capture beside it whose words make it a gradient, whatever its numbers look like. */
const told = (golden: GoldenCase, capture: object): GoldenCase => ({
  name: golden.name,
  request: (scratch) => {
    const folder = join(scratch, golden.name);
    mkdirSync(folder, { recursive: true });
    const request = golden.request(scratch);
    const gradients = join(folder, 'gradients.pt');
    copyFileSync(request.gradients, gradients);
    writeFileSync(join(folder, 'capture.json'), JSON.stringify(capture));
    return { ...request, gradients };
  },
});

/** With the input reconstructed, by what gives the same numbers on every machine. */
const reconstructed = (name: string, network: string, given: Partial<ReconstructionRequest>): GoldenCase => ({
  name,
  request: () => {
    const folder = join(FIXTURES, 'networks', network);
    return {
      ...pathsInFolder(folder),
      method: 'auto',
      ...(given.settings?.labels === 'true' ? { truth: join(folder, 'truth.json') } : {}),
      reconstruction: {
        attack: 'auto',
        preset: 'soft-label',
        engine: 'onnxruntime-cpu',
        timeLimitSeconds: 600,
        ...given,
      },
    };
  },
});

/** Nearly normal numbers, without the functions whose last digit differs between machines. */
function normals(seed: number): () => number {
  let state = seed;
  const uniform = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return () => Array.from({ length: 12 }, uniform).reduce((sum, own) => sum + own, -6);
}

export const GOLDEN_CASES: readonly GoldenCase[] = [
  dump('hard-bias', 'dumps/k10_hard_bias_default'),
  dump('hard-nobias', 'dumps/k10_hard_nobias_trained'),
  dump('smoothed-bias', 'dumps/k10_smooth_bias_default'),
  dump('smoothed-nobias', 'dumps/k17_smooth_nobias_trained'),
  dump('mixup-bias', 'dumps/k10_mixup_bias_default'),
  dump('mixup-nobias', 'dumps/k17_mixup_nobias_trained'),
  dump('mixup-smoothed-bias', 'dumps/k10_mixup_smooth_bias_default'),
  dump('mixup-smoothed-nobias', 'dumps/k100_mixup_smooth_nobias_trained'),
  dump('smoothed-under-noise', 'dumps/noise_0.001'),
  noisy('kind-open-under-noise', 'dumps/k10_hard_bias_default', 0.01),
  noisy('mixed-kind-open-under-noise', 'dumps/k10_mixup_nobias_trained', 0.03),
  noisy('class-uncertain-under-noise', 'dumps/k10_hard_bias_default', 0.1),
  dump('sigmoid', 'dumps/multilabel_bias'),
  dump('dense-label-narrowed-down', 'dumps/dense_bias'),
  dump('other-checkpoint', 'dumps/dense_nobias'),
  dump('batch-found', 'batches/trained-smoothed-bias-s0'),
  dump('batch-under-noise', 'batches/untrained-noise-s0'),
  dump('batch-counts-estimated', 'dumps/batch6_bias'),
  dump('embedding-and-head', 'leaks/language'),
  dump('embedding-without-head', 'leaks/recommender'),
  dump('imprint', 'leaks/imprint'),
  dump('no-head', 'heads/backbone'),
  dump('regression', 'heads/regression'),
  dump('tied-head', 'heads/gpt2-tied'),
  update('difference', 'lenet', 'sgd-0.1-after-minus-before.pt'),
  update('several-steps', 'convnet', 'four-steps.pt'),
  update('adam', 'lenet', 'adam.pt'),
  update('sign', 'convnet', 'sign.pt'),
  update('pruned', 'convnet', 'pruned.pt'),
  update('hidden-by-noise', 'lenet', 'random.pt'),
  told(update('nothing-found', 'lenet', 'random.pt'), { mode: 'eval', batch_size: 1 }),
  reconstructed('reconstructed', 'mlp', { attack: 'chain' }),
  reconstructed('reconstructed-with-true-label', 'pooled', {
    attack: 'matching',
    settings: { labels: 'true', iterations: 3, restarts: 1 },
  }),
];
