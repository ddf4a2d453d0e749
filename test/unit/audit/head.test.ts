import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { afterAll, describe, expect, it } from 'vitest';
import { type HeadSearch, findHead } from '../../../src/facts/head.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import { matchTensors } from '../../../src/facts/matching.js';
import { runAudit } from '../../../src/audit/run-audit.js';
import { type OnnxModel, ONNX_TYPE, encodeOnnx } from '../../../src/formats/onnx-protobuf.js';
import { openTensorFile } from '../../../src/formats/open.js';
import type { Report } from '../../../src/protocol/report.js';
import type { Matrix } from '../../../src/recovery/linear-algebra.js';
import { hasOtherLoss } from '../../../src/recovery/other-loss.js';
import { generator } from '../../../src/recovery/paper-method.js';
import { gaussian } from '../../synthetic-head.js';
import { type FixtureTensor, writeSafetensors } from '../../write-fixtures.js';

/** Where the head of a network is, and that nothing else is taken for one: models of PyTorch, torchvision and transformers. */

const HEADS = join(import.meta.dirname, '..', '..', 'fixtures', 'heads');
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-heads-'));
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

interface Expected {
  head: string | null;
  tied: string | null;
}

const names = readdirSync(HEADS);
const expected = new Map(
  names.map((name) => [name, JSON.parse(readFileSync(join(HEADS, name, 'expected.json'), 'utf8')) as Expected]),
);
const having = (test: (own: Expected) => boolean): string[] => names.filter((name) => test(expected.get(name)!));

async function audit(folder: string): Promise<Report> {
  const request = { ...pathsInFolder(folder), method: 'auto' as const, batchTimeLimitSeconds: 5 };
  return (await runAudit(request, hooks)).report;
}

function search(folder: string, options: { head?: string } = {}): HeadSearch {
  const paths = pathsInFolder(folder);
  const [checkpoint, gradients] = [openTensorFile(paths.checkpoint), openTensorFile(paths.gradients)];
  try {
    return findHead(matchTensors(checkpoint, gradients), checkpoint, gradients, { ...paths, ...options });
  } finally {
    checkpoint.close();
    gradients.close();
  }
}

function headOf(found: HeadSearch): string | undefined {
  return 'weight' in found.found ? found.found.weight.parameter.name : undefined;
}

function whyNone({ found }: HeadSearch): string {
  return 'why' in found ? found.why : '';
}

function normals(random: () => number, count: number): Float64Array {
  return Float64Array.from({ length: count }, () => gaussian(random));
}

let copies = 0;
function copyOf(name: string): string {
  const folder = join(scratch, `${copies++}`);
  cpSync(join(HEADS, name), folder, { recursive: true });
  return folder;
}

describe('the head', () => {
  it.each(having(({ head }) => head !== null))('of %s is found', (name) => {
    expect(headOf(search(join(HEADS, name)))).toBe(expected.get(name)!.head);
  });

  it('is found from its place when noise hides the sum over the classes', async () => {
    const report = await audit(join(HEADS, 'torchvision-vit-noise'));
    expect(report.head?.weight).toBe('heads.head.weight');
  });

  it.each([
    ['two-heads', 'colour.weight', 'shape.weight'],
    ['numbered-heads', 'heads.0.2.weight', 'heads.1.2.weight'],
  ])('of %s is not chosen by chance', (name, ...both) => {
    for (const own of both) {
      expect(() => search(join(HEADS, name))).toThrow(own);
      expect(headOf(search(join(HEADS, name), { head: own }))).toBe(own);
    }
  });

  it('that was named and is not there is an error', () => {
    expect(() => search(join(HEADS, 'gpt2-tied'), { head: 'lm_head' })).toThrow('no matrix called "lm_head"');
  });
});

describe('a tied head', () => {
  it.each(having(({ tied }) => tied !== null))('of %s is said to be one, at once', async (name) => {
    const started = performance.now();
    const report = await audit(join(HEADS, name));
    const { tied } = expected.get(name)!;
    expect(report.head).toBeNull();
    expect(report.verdict.outcome).toBe('not-assessed');
    expect(report.verdict.sentence).toContain(
      `The head is tied to the embedding "${tied}"; texts are read where the model is known: put its config.json beside the checkpoint`,
    );
    expect(report.samples).toEqual([]);
    expect(report.labelCounts).toBeNull();
    expect(report.leaks.filter(({ gives }) => gives.tokens > 0)).toEqual([]);
    expect(performance.now() - started).toBeLessThan(2000);
  });

  it('is not found by naming the embedding either', () => {
    expect(whyNone(search(join(HEADS, 'gpt2-tied-safetensors'), { head: 'wte' }))).toContain('tied');
  });
});

describe('networks without a classifier', () => {
  it.each(['autoencoder', 'multi-label-batch', 'backbone'])('%s: nothing is invented', async (name) => {
    const report = await audit(join(HEADS, name));
    expect(report.verdict.outcome).toBe('not-assessed');
    expect(report).toMatchObject({ head: null, samples: [], labelCounts: null });
  });

  it('regression: no label is invented, and a layer before the last tells all six inputs', async () => {
    const report = await audit(join(HEADS, 'regression'));
    expect(report).toMatchObject({ head: null, samples: [], labelCounts: null, verdict: { outcome: 'leaks' } });
    expect(report.leaks).toMatchObject([
      { method: 'hidden-layer', tensor: '0.weight', certificate: { verdict: 'exact' }, gives: { inputs: 6 } },
    ]);
  });

  it.each(['autoencoder-single', 'regression-single'])('%s: no label is called recovered', async (name) => {
    const { samples, verdict } = await audit(join(HEADS, name));
    expect(samples.map(({ status }) => status)).toEqual(['not-identifiable']);
    expect(verdict.outcome).not.toBe('leaks');
  });

  it('a last layer whose output a norm takes is named in the reason', () => {
    expect(whyNone(search(join(HEADS, 'backbone')))).toContain('"2.weight" feeds the norm "3.weight"');
  });

  it('a head without gradient leaves no other in its place', () => {
    const random = generator(5);
    const tensor = (shape: number[]): FixtureTensor => ({
      shape,
      data: normals(random, shape[0]! * (shape[1] ?? 1)),
    });
    const body = { 'body.0.weight': [16, 12], 'body.2.weight': [14, 16] };
    const made = (shapes: Record<string, number[]>): Record<string, FixtureTensor> =>
      Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, tensor(shape)]));
    const folder = join(scratch, 'frozen-head');
    writeSafetensors(join(folder, 'checkpoint.safetensors'), made({ ...body, 'out.weight': [5, 14] }));
    writeSafetensors(join(folder, 'gradient.safetensors'), made(body));
    expect(whyNone(search(folder))).toContain('feeds the layer "out.weight"');
  });
});

describe('config.json beside the dump', () => {
  it('names the classifier', () => {
    const found = search(join(HEADS, 'bert'));
    expect(found.notes.join()).toContain('the head of a BertForSequenceClassification is "classifier.weight"');
    expect(found.doubtful).toBe(false);
  });

  it.each([
    ['gpt2-tied', { architectures: ['GPT2LMHeadModel'], model_type: 'gpt2' }],
    ['gpt2-tied-twice', { architectures: ['GPT2LMHeadModel'], tie_word_embeddings: true }],
    ['bert-masked', { architectures: ['BertForMaskedLM'], model_type: 'bert' }],
  ])('says that the head of %s is tied', (name, config) => {
    const folder = copyOf(name);
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
    const found = search(folder);
    expect(whyNone(found)).toContain('tied');
    expect(found.notes.join()).toContain('shares its head');
  });

  it('decides between two heads', () => {
    const random = generator(7);
    const weights = (shape: number[]): FixtureTensor => ({ shape, data: normals(random, shape[0]! * shape[1]!) });
    const zeroSum = ({ shape, data }: FixtureTensor): FixtureTensor => {
      const cols = shape[1]!;
      const own = Float64Array.from(data);
      own.fill(0, 0, cols);
      own.forEach((value, at) => (own[at % cols]! -= at < cols ? 0 : value));
      return { shape, data: own };
    };
    const net = {
      'body.weight': weights([8, 12]),
      'classifier.weight': weights([4, 8]),
      'aux.weight': weights([6, 8]),
    };
    const folder = join(scratch, 'two-classifiers');
    writeSafetensors(join(folder, 'checkpoint.safetensors'), net);
    writeSafetensors(join(folder, 'gradient.safetensors'), {
      'body.weight': weights([8, 12]),
      'classifier.weight': zeroSum(weights([4, 8])),
      'aux.weight': zeroSum(weights([6, 8])),
    });
    expect(() => search(folder)).toThrow('2 layers that could be the head');
    const config = { architectures: ['NetForImageClassification'], num_labels: 4 };
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
    expect(headOf(search(folder))).toBe('classifier.weight');
  });

  it('tells of a regression', () => {
    const folder = copyOf('bert');
    const config = { architectures: ['BertForSequenceClassification'], problem_type: 'regression', num_labels: 5 };
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
    expect(whyNone(search(folder))).toContain('regression outputs');
  });

  it.each([
    ['broken', '{"architectures": ['],
    ['of something else', '{"name": "project"}'],
    ['no object', '[1, 2]'],
    ['too large', `{"architectures": ["BertForSequenceClassification"], "x": "${'x'.repeat(2 ** 20)}"}`],
    ['of wrong types', '{"architectures": "Bert", "num_labels": "many", "tie_word_embeddings": 1}'],
    ['of another number of classes', '{"architectures": ["BertForSequenceClassification"], "num_labels": 77}'],
    ['of a tied model', '{"architectures": ["BertForMaskedLM"], "model_type": "bert"}'],
    ['with odd names', '{"__proto__": {"architectures": ["X"]}, "architectures": ["a\\nb"]}'],
  ])('is passed over when it is %s', (_what, text) => {
    const folder = copyOf('bert');
    writeFileSync(join(folder, 'config.json'), text);
    const found = search(folder);
    expect(headOf(found)).toBe('classifier.weight');
    for (const note of found.notes) {
      expect(note).toContain('passed over');
    }
  });

  it('that does not fit is a warning in the report', async () => {
    const folder = copyOf('bert');
    writeFileSync(join(folder, 'config.json'), '{"architectures": [');
    const report = await audit(folder);
    expect(report.consistency.find(({ id }) => id === 'head-hint')?.status).toBe('warn');
    expect(report.verdict.outcome).toBe('leaks');
  });
});

describe('model.onnx beside the dump', () => {
  function graph(weight: string, dims: number[], last: string[] = [], data?: Float64Array): OnnxModel {
    const chain = ['MatMul', ...last];
    return {
      irVersion: 8,
      opsetImport: [{ version: 17 }],
      graph: {
        node: chain.map((opType, at) => ({
          opType,
          input: at === 0 ? ['hidden', weight] : [`v${at - 1}`, ...(opType === 'Add' ? ['bias'] : [])],
          output: [`v${at}`],
        })),
        initializer: [
          {
            name: weight,
            dims,
            dataType: ONNX_TYPE.float,
            rawData: new Uint8Array(Float32Array.from(data ?? new Float64Array(dims[0]! * dims[1]!)).buffer),
          },
          { name: 'bias', dims: [1], dataType: ONNX_TYPE.float, rawData: new Uint8Array(4) },
        ],
        input: [{ name: 'hidden' }],
        output: [{ name: `v${chain.length - 1}` }],
      },
    };
  }

  function withGraph(name: string, model: OnnxModel | Uint8Array): HeadSearch {
    const folder = copyOf(name);
    writeFileSync(join(folder, 'model.onnx'), model instanceof Uint8Array ? model : encodeOnnx(model));
    return search(folder);
  }

  it('decides between two heads by the name of the weight', () => {
    expect(headOf(withGraph('two-heads', graph('colour.weight', [4, 8], ['Add', 'Softmax'])))).toBe('colour.weight');
  });

  it('and by its numbers, which an exporter has transposed and named anew', () => {
    const file = openTensorFile(pathsInFolder(join(HEADS, 'two-heads')).checkpoint);
    const { data } = file.read('shape.weight');
    file.close();
    const transposed = Float64Array.from({ length: 48 }, (_, at) => data[(at % 6) * 8 + Math.floor(at / 6)]!);
    expect(headOf(withGraph('two-heads', graph('onnx::MatMul_12', [8, 6], [], transposed)))).toBe('shape.weight');
  });

  it('tells of a tied head', () => {
    expect(whyNone(withGraph('gpt2-tied', graph('transformer.wte.weight', [64, 16])))).toContain('tied');
  });

  it.each([
    ['a graph that ends in another operation', graph('classifier.weight', [5, 16], ['Relu']), 'Relu'],
    ['a weight of another model', graph('fc.weight', [9, 9]), 'no parameter with a gradient'],
    ['a broken file', new Uint8Array([1, 2, 3, 255]), 'passed over'],
    ['an empty file', new Uint8Array(), 'passed over'],
  ])('is only noted when it is %s', (_what, model, reason) => {
    const found = withGraph('vit', model);
    expect(headOf(found)).toBe('classifier.weight');
    expect(found.notes.join()).toContain(reason);
    expect(found.doubtful).toBe(true);
  });

  it('ends, although its nodes run in a circle', () => {
    const model = graph('classifier.weight', [5, 16], ['Softmax']);
    model.graph.node = [{ opType: 'Softmax', input: ['v1'], output: ['v1'] }];
    expect(headOf(withGraph('vit', model))).toBe('classifier.weight');
  });
});

describe('a loss other than softmax cross-entropy', () => {
  const random = generator(3);
  /** The gradient of a batch with residuals that sum to zero over the outputs, or do not. */
  function gradientOf(outputs: number, batch: number, zeroSum: boolean, noise: number): Matrix {
    const cols = 40;
    const data = new Float64Array(outputs * cols);
    for (let sample = 0; sample < batch; sample++) {
      const residual = normals(random, outputs);
      const mean = residual.reduce((sum, value) => sum + value, 0) / outputs;
      const feature = normals(random, cols).map((value) => Math.max(0, value + 0.3));
      data.forEach((_, at) => {
        data[at]! += (residual[Math.floor(at / cols)]! - (zeroSum ? mean : 0)) * feature[at % cols]!;
      });
    }
    const added = normals(random, data.length);
    return { rows: outputs, cols, data: data.map((value, at) => value + noise * added[at]!) };
  }

  it('is told from noise, whatever its size, and noise is never taken for one', () => {
    for (let round = 0; round < 40; round++) {
      for (const noise of [0.01, 0.1, 1, 10]) {
        expect(hasOtherLoss(gradientOf(10, 4, true, noise), 1e-3), `noise ${noise}`).toBe(false);
      }
      expect(hasOtherLoss(gradientOf(10, 4, false, 0), 1e-3)).toBe(true);
      expect(hasOtherLoss(gradientOf(10, 4, true, 0), 1e-3)).toBe(false);
    }
  });

  it('is left to recovery for one sample, and cannot be told from pruned numbers', () => {
    expect(hasOtherLoss(gradientOf(10, 1, false, 0), 1e-3)).toBe(false);
    const pruned = gradientOf(10, 4, true, 0);
    const data = pruned.data.map((value) => (Math.abs(value) < 0.5 ? 0 : value));
    expect(hasOtherLoss({ ...pruned, data }, 1e-3)).toBe(false);
  });
});
