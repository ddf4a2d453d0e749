import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { renderReport } from '../../../src/cli/render-text.js';
import { openTensorFile } from '../../../src/formats/open.js';
import type { AuditRequest } from '../../../src/protocol/audit-request.js';
import type { Report } from '../../../src/protocol/report.js';
import { generator } from '../../../src/recovery/paper-method.js';
import { readTensors, relativeError } from '../../networks.js';
import { gaussian } from '../../synthetic-head.js';
import { type FixtureTensor, writeSafetensors } from '../../write-fixtures.js';

/** Images that vision transformers of PyTorch saw, from two tensors of their gradients; the truth only measures. */

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures', 'vit');
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-vit-'));
const quiet = { progress: () => undefined, pause: () => Promise.resolve() };

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

const gradientOf = (name: string): string => join(FIXTURES, name, 'gradient.pt');

async function auditAlone(gradients: string, given: Partial<AuditRequest> = {}): Promise<Report> {
  return (await runAudit({ gradients, method: 'auto', ...given }, quiet)).report;
}

function numbersOf(path: string): Float64Array {
  const file = openTensorFile(path);
  try {
    return file.read(file.entries[0]!.name).data;
  } finally {
    file.close();
  }
}

const rowOf = ({ methods }: Report) => methods!.find(({ id }) => id === 'vit-patches');

/** A fixture with some of its tensors replaced, or left out where the replacement is undefined. */
function changed(name: string, file: string, tensors: Record<string, FixtureTensor | undefined>): string {
  const path = join(scratch, `${file}.safetensors`);
  const own = [...readTensors(gradientOf(name))].map(([key, { shape, data }]): [string, FixtureTensor] => [
    key,
    { shape: [...shape], data: Float32Array.from(data) },
  ]);
  const all = Object.entries({ ...Object.fromEntries(own), ...tensors });
  writeSafetensors(path, Object.fromEntries(all.flatMap(([key, tensor]) => (tensor ? [[key, tensor] as const] : []))));
  return path;
}

describe('the image of a vision transformer', () => {
  it.each([
    ['torchvision', 'conv_proj.weight'],
    ['deit', 'deit.embeddings.patch_embeddings.projection.weight'],
    ['timm-pooled', 'patch_embed.proj.weight'],
    ['shapes-alone', 'a.weight'],
    ['no-bias', 'patch_embed.proj.weight'],
    ['linear', 'patch_embed.proj.weight'],
    ['wide', 'conv_proj.weight'],
  ])('follows from the gradient file alone: %s', async (name, tensor) => {
    const out = join(scratch, name);
    const report = await auditAlone(gradientOf(name), { out });
    const leak = report.leaks.find(({ method }) => method === 'vit-patches')!;
    expect(leak).toMatchObject({
      tensor,
      sample: null,
      brief: 'the input image',
      certificate: { by: 'equations', verdict: 'exact' },
      gives: { inputs: 1, tokens: 0 },
      files: ['patches.npy'],
    });
    const found = numbersOf(join(out, 'patches.npy'));
    const truth = numbersOf(join(FIXTURES, name, 'image.npy'));
    expect(relativeError(found, truth)).toBeLessThan(1e-4);
    const picture = leak.details.find((detail) => detail.type === 'picture')!;
    expect(picture.shape).toEqual(name === 'wide' ? [3, 12, 18] : [3, 12, 12]);
    expect(report.verdict.sentence).toContain('the input image');
    expect(report.findings.map(({ id, severity }) => [id, severity])).toContainEqual(['patches-computed', 'high']);
    expect(renderReport(report)).toContain(`3 x 12 x ${name === 'wide' ? 18 : 12} numbers`);
  });

  it('is the input of the sample that the head tells, and is compared with the truth', async () => {
    const folder = join(FIXTURES, 'torchvision');
    const given = { checkpoint: join(folder, 'checkpoint.pt'), truth: join(folder, 'truth.json') };
    const out = join(scratch, 'sample');
    const report = await auditAlone(gradientOf('torchvision'), {
      ...given,
      out,
      reconstruction: { attack: 'auto', preset: 'soft-label', engine: 'onnxruntime-cpu', timeLimitSeconds: 60 },
    });
    const own = report.samples[0]!.reconstruction!;
    expect(own).toMatchObject({ method: 'patches', verdict: 'exact', file: 'reconstruction-0.npy' });
    expect(own.psnr).toBeGreaterThan(90);
    expect(Math.sqrt(own.mse!)).toBeLessThan(3 * own.expectedError!);
    expect(report.leaks.find(({ method }) => method === 'vit-patches')).toMatchObject({ sample: 0, files: [] });
    expect(report.methods!.find(({ id }) => id === 'input')!.detail).toContain('known already');
    const text = renderReport(report);
    expect(text).toContain('Input       exact, 3 x 12 x 12, by least squares');
    expect(text).toContain('PSNR');
  });

  it('stays where a later method finds none', async () => {
    const random = generator(7);
    const { shape, data } = readTensors(gradientOf('torchvision')).get('conv_proj.weight')!;
    const noisy = Float32Array.from(data, (value) => value * (1 + 1e-5 * gaussian(random)));
    const path = changed('torchvision', 'noisy', { 'conv_proj.weight': { shape: [...shape], data: noisy } });
    const report = await auditAlone(path, {
      checkpoint: join(FIXTURES, 'torchvision', 'checkpoint.pt'),
      out: join(scratch, 'noisy'),
      reconstruction: { attack: 'chain', preset: 'soft-label', engine: 'onnxruntime-cpu', timeLimitSeconds: 60 },
    });
    expect(report.methods!.find(({ id }) => id === 'input')!.outcome).toBe('not-applicable');
    expect(report.samples[0]!.reconstruction).toMatchObject({ method: 'patches', verdict: 'close' });
  });

  it('is shown with its expected error in half precision', async () => {
    const out = join(scratch, 'half');
    const report = await auditAlone(gradientOf('half'), { out });
    const { certificate } = report.leaks.find(({ method }) => method === 'vit-patches')!;
    expect(certificate!.verdict).toBe('close');
    const truth = numbersOf(join(FIXTURES, 'half', 'image.npy'));
    const found = numbersOf(join(out, 'patches.npy'));
    const squares = found.reduce((sum, value, at) => sum + (value - truth[at]!) ** 2, 0);
    const ratio = Math.sqrt(squares / truth.length) / certificate!.expectedError!;
    expect(ratio).toBeGreaterThan(0.5);
    expect(ratio).toBeLessThan(2);
  });

  it('is no picture where the arrangement of its patches is not known', async () => {
    const out = join(scratch, 'unarranged');
    const tensors = readTensors(gradientOf('wide'));
    const path = changed('wide', 'unarranged', {});
    const report = await auditAlone(path, { out });
    const leak = report.leaks.find(({ method }) => method === 'vit-patches')!;
    expect(leak.details.map(({ type }) => type)).toEqual(['text', 'facts']);
    expect(numbersOf(join(out, 'patches.npy'))).toHaveLength(24 * 27);
    expect(tensors.get('encoder.pos_embedding')!.shape).toEqual([1, 25, 32]);
  });

  it('is read from kernels that come first, as Flax stores them', async () => {
    const { shape, data } = readTensors(gradientOf('timm-pooled')).get('patch_embed.proj.weight')!;
    const [width = 0, channels = 0, rows = 0, cols = 0] = shape;
    const taps = rows * cols;
    const turned = Float32Array.from(data, (_, at) => {
      const [own, rest] = [at % width, Math.floor(at / width)];
      return data[(own * channels + (rest % channels)) * taps + Math.floor(rest / channels)]!;
    });
    const bias = readTensors(gradientOf('timm-pooled')).get('patch_embed.proj.bias')!;
    const path = changed('timm-pooled', 'flax', {
      'patch_embed.proj.weight': undefined,
      'patch_embed.proj.bias': undefined,
      'embedding.kernel': { shape: [rows, cols, channels, width], data: turned },
      'embedding.bias': { shape: [width], data: Float32Array.from(bias.data) },
    });
    const out = join(scratch, 'flax');
    await auditAlone(path, { out });
    const truth = numbersOf(join(FIXTURES, 'timm-pooled', 'image.npy'));
    expect(relativeError(numbersOf(join(out, 'patches.npy')), truth)).toBeLessThan(1e-4);
  });
});

describe('no image', () => {
  const zeros = (...shape: number[]): FixtureTensor => ({
    shape,
    data: new Float32Array(shape.reduce((product, size) => product * size, 1)),
  });

  it.each([
    ['of a batch, which is told to be one', 'batch-of-two', 'nothing', 'a sum of several samples'],
    ['of a batch without a bias or a class token', 'batch-of-four', 'nothing', 'of several samples, or noise'],
    ['below noise', 'noise', 'nothing', 'hides the image'],
    ['where the position embedding has no gradient', 'frozen-positions', 'not-applicable', 'it is frozen'],
  ])('%s', async (_, name, outcome, why) => {
    const report = await auditAlone(gradientOf(name));
    expect(report.leaks.filter(({ method }) => method === 'vit-patches')).toEqual([]);
    expect(report.findings.filter(({ id }) => id === 'patches-computed')).toEqual([]);
    expect(rowOf(report)!.outcome).toBe(outcome);
    expect(rowOf(report)!.detail).toContain(why);
  });

  it.each([
    ['only zeros', { 'encoder.pos_embedding': zeros(1, 17, 32) }, 'only zeros'],
    [
      'numbers that are not finite',
      { 'encoder.pos_embedding': { shape: [1, 17, 32], data: new Float32Array(17 * 32).fill(NaN) } },
      'not finite',
    ],
    [
      'a bias that does not fit',
      { 'conv_proj.bias': { shape: [32], data: new Float32Array(32).map((_, at) => at) } },
      'not the sum',
    ],
    [
      'more tokens than numbers in a token',
      {
        'conv_proj.bias': undefined,
        'encoder.pos_embedding': {
          shape: [1, 40, 32],
          data: Float32Array.from({ length: 1280 }, (_, at) => Math.sin(at)),
        },
      },
      'too few',
    ],
    ['more tokens than are read', { 'encoder.pos_embedding': zeros(1, 5000, 32) }, 'too large'],
  ])('of %s', async (name, tensors, why) => {
    const report = await auditAlone(changed('torchvision', name.replaceAll(' ', '-'), tensors));
    expect(report.leaks).toEqual([]);
    expect(rowOf(report)).toMatchObject({ outcome: 'not-applicable' });
    expect(rowOf(report)!.detail).toContain(why);
  });

  it.each([
    ['without a patch embedding of its width', { 'a.weight': zeros(16, 3, 3, 3) }],
    ['of convolutions of one pixel', { 'a.weight': zeros(32, 27, 1, 1) }],
    ['with sizes of zero', { 'a.weight': zeros(32, 0, 3, 3) }],
  ])('and no row %s', async (name, tensors) => {
    expect(rowOf(await auditAlone(changed('shapes-alone', name.replaceAll(' ', '-'), tensors)))).toBeUndefined();
  });
});
