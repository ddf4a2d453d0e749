import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { upgradeReport } from '../../../src/audit/upgrade-report.js';
import { renderReport } from '../../../src/cli/render-text.js';
import { openTensorFile } from '../../../src/formats/open.js';
import { evaluate, foldConstant } from '../../../src/graph/evaluate.js';
import { TensorGraph } from '../../../src/graph/tensor-graph.js';
import { recogniseNetwork } from '../../../src/network/built-in.js';
import type { NormMode } from '../../../src/network/layers/layer-rule.js';
import { buildNetwork } from '../../../src/network/network-graph.js';
import type { Report } from '../../../src/protocol/report.js';
import { dot, norm } from '../../../src/recovery/vectors.js';
import { NETWORKS, readTensors } from '../../networks.js';
import { writeSafetensors } from '../../write-fixtures.js';

/** What a gradient of PyTorch gives away when nothing else is there; the network only measures. */

const scratch = mkdtempSync(join(tmpdir(), 'gradleak-alone-'));

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

async function auditAlone(gradients: string, out?: string): Promise<Report> {
  const request = { gradients, method: 'auto', ...(out === undefined ? {} : { out }) } as const;
  return (await runAudit(request, { progress: () => undefined, pause: () => Promise.resolve() })).report;
}

function numbersOf(path: string): Float64Array {
  const file = openTensorFile(path);
  try {
    return file.read(file.entries[0]!.name).data;
  } finally {
    file.close();
  }
}

/** Input of the last convolution for each sample, as the network computes it from the true images. */
function trueInputs(name: string, batch: number, mode: NormMode): Float64Array[] {
  const parameters = readTensors(join(NETWORKS, name, 'checkpoint.pt'));
  const shapes = [...parameters].map(([own, { shape }]) => ({ name: own, shape }));
  const { recipe } = recogniseNetwork(shapes, { inputShape: [3, 8, 8] })[0]!;
  const net = buildNetwork(new TensorGraph(foldConstant), recipe, (own) => parameters.get(own), batch, mode);
  const at = recipe.layers.findIndex((layer) => 'weight' in layer && layer.weight === 'layer2.0.conv2.weight');
  const values = evaluate(net.outputs, { x: numbersOf(join(NETWORKS, name, 'image.npy')) })[at - 1]!;
  const size = values.length / batch;
  return Array.from({ length: batch }, (_, b) => values.slice(b * size, (b + 1) * size));
}

describe('a gradient without its checkpoint', () => {
  it.each([
    ['residual', 1, 'eval'],
    ['residual-batch', 2, 'eval'],
    ['residual-train-batch', 2, 'train'],
  ] as const)('gives the input of a convolution away, up to a factor: %s', async (name, batch, mode) => {
    const out = join(scratch, name);
    const report = await auditAlone(join(NETWORKS, name, 'gradient.pt'), out);
    expect(report.verdict.outcome).toBe('leaks');
    expect(report.verdict.sentence).toContain('no checkpoint was given');
    expect(report.inputs.checkpoint).toBeNull();
    const [leak, ...others] = report.leaks;
    expect(others).toEqual([]);
    expect(leak).toMatchObject({
      method: 'feature-maps',
      tensor: 'layer2.0.conv2.weight',
      certificate: { by: 'equations', verdict: 'exact' },
      gives: { inputs: 0, tokens: 0 },
    });
    const found = numbersOf(join(out, 'layer-input-0.npy'));
    const size = found.length / batch;
    for (const truth of trueInputs(name, batch, mode)) {
      const likeness = Array.from({ length: batch }, (_, b) => {
        const own = found.slice(b * size, (b + 1) * size);
        return dot(own, truth) / (norm(own) * norm(truth));
      });
      expect(1 - Math.max(...likeness)).toBeLessThan(1e-9);
    }
    const [finding] = report.findings;
    expect(finding).toMatchObject({ id: 'layer-input-computed', severity: 'high' });
    expect(finding!.evidence).toContain(batch === 1 ? 'the one sample' : `each of ${batch} samples`);
    expect(finding!.mitigation).toContain(`at least ${mode === 'train' ? 4 : 3} samples`);
    expect(upgradeReport(JSON.parse(JSON.stringify(report)))).toEqual(report);
    expect(renderReport(report)).toContain('checkpoint  none was given');
  });

  it('is not assessed where no layer tells anything, and says what needs a checkpoint', async () => {
    const report = await auditAlone(join(NETWORKS, 'lenet', 'gradient.pt'));
    expect(report.verdict.outcome).toBe('not-assessed');
    expect(report.findings).toEqual([]);
    const rows = new Map(report.methods!.map(({ id, outcome }) => [id, outcome]));
    expect(rows.get('feature-maps')).toBe('nothing');
    expect(rows.get('input')).toBe('not-applicable');
    expect(report.methods!.find(({ id }) => id === 'head-single')!.detail).toContain('needs the checkpoint');
  });

  it('tells tokens of what is called an embedding, and takes no other matrix for one', async () => {
    const rows = new Float32Array(300 * 4);
    rows.set([0.5, -0.25, 1, 2], 7 * 4);
    const path = join(scratch, 'tokens.safetensors');
    const tensor = { shape: [300, 4], data: rows };
    writeSafetensors(path, { 'wte.weight': tensor, 'lm_head.weight': tensor });
    const report = await auditAlone(path);
    expect(report.leaks.map(({ tensor: name }) => name)).toEqual(['wte.weight']);
  });

  it('reads kernels that come first, as Keras stores them, and says what it did not look at', async () => {
    const own = readTensors(join(NETWORKS, 'residual', 'gradient.pt')).get('layer2.0.conv2.weight')!;
    const [filters = 0, channels = 0, rows = 0, columns = 0] = own.shape;
    const taps = rows * columns;
    const turned = Float32Array.from(own.data, (_, at) => {
      const [tap, rest] = [Math.floor(at / (channels * filters)), at % (channels * filters)];
      return own.data[((rest % filters) * channels + Math.floor(rest / filters)) * taps + tap]!;
    });
    const path = join(scratch, 'keras.safetensors');
    writeSafetensors(path, {
      'conv/kernel': { shape: [rows, columns, channels, filters], data: turned },
      'broken.weight': { shape: [8, 4, 3, 3], data: new Float32Array(288).fill(NaN) },
    });
    const report = await auditAlone(path);
    expect(report.leaks).toMatchObject([
      { tensor: 'conv/kernel', title: 'Feature maps, each from one layer’s gradient alone' },
    ]);
    expect(report.consistency.find(({ id }) => id === 'finite')).toMatchObject({ status: 'fail' });
    const broken = join(scratch, 'broken.safetensors');
    writeSafetensors(broken, { 'a.weight': { shape: [8, 4, 3, 3], data: new Float32Array(288).fill(NaN) } });
    const { methods } = await auditAlone(broken);
    expect(methods!.find(({ id }) => id === 'feature-maps')!.detail).toContain('Not looked at: a.weight (not finite)');
  });

  it('takes no transposed convolution for one, where its bias tells', async () => {
    const own = readTensors(join(NETWORKS, 'residual', 'gradient.pt')).get('layer2.0.conv2.weight')!;
    const rows = own.data.slice(0, 40 * 48 * 9);
    const weight = { shape: [40, 48, 3, 3], data: Float32Array.from(rows) };
    const path = join(scratch, 'transposed.safetensors');
    writeSafetensors(path, { 'up.weight': weight, 'up.bias': { shape: [48], data: new Float32Array(48).fill(1) } });
    expect((await auditAlone(path)).leaks).toEqual([]);
    writeSafetensors(path, { 'up.weight': weight, 'up.bias': { shape: [40], data: new Float32Array(40).fill(1) } });
    expect((await auditAlone(path)).leaks).toHaveLength(1);
  });
});
