import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openTensorFile } from '../../../src/formats/open.js';
import { readKerasModel } from '../../../src/formats/keras-file.js';
import { readOnnx } from '../../../src/formats/onnx.js';
import { decodeOnnx, encodeOnnx } from '../../../src/formats/onnx-protobuf.js';
import { evaluate } from '../../../src/graph/evaluate.js';
import { recogniseNetwork } from '../../../src/network/built-in.js';
import { importKeras } from '../../../src/network/keras.js';
import { RecipeError } from '../../../src/network/layers/layer-rule.js';
import { detectNormMode, fitsGroups } from '../../../src/network/norm-mode.js';
import { importOnnx } from '../../../src/network/onnx.js';
import type { CheckpointView } from '../../../src/network/onnx-weights.js';
import { parseRecipe } from '../../../src/network/parse-recipe.js';
import type { Recipe } from '../../../src/network/layers/recipe.js';
import { NETWORKS, gradientNodes, readTensors, relativeError, secondOrderCases } from '../../networks.js';

/** Importers against PyTorch's and Keras' own gradients at the true input. */

const at = (...names: string[]): string => join(NETWORKS, ...names);

function view(path: string): CheckpointView {
  const file = openTensorFile(path);
  return { entries: file.entries, read: (name) => file.read(name).data };
}

function truthOf(folder: string): { labels: number[]; image: Float64Array } {
  const { labels } = JSON.parse(readFileSync(at(folder, 'truth.json'), 'utf8')) as { labels: number[][] };
  const tensors = readTensors(folder === 'keras' ? at(folder, 'image.npy') : at(folder, 'image.pt'));
  return { labels: labels[0]!, image: Float64Array.from([...tensors.values()][0]!.data) };
}

/** Largest relative error over all parameters between a recipe's gradients and the captured ones. */
function worstError(recipe: Recipe, folder: string, files: [string, string]): { worst: number; names: string[] } {
  const { labels, image } = truthOf(folder);
  const captured = readTensors(at(folder, files[1]));
  const { names, nodes } = gradientNodes(recipe, readTensors(at(folder, files[0])), labels);
  const found = evaluate(nodes, { x: image });
  const errors = names.map((name, index) => {
    const own = captured.get(name) ?? [...captured].find(([key]) => key.endsWith(name))?.[1];
    expect(own, name).toBeDefined();
    return relativeError(found[index]!, own!.data);
  });
  return { worst: Math.max(...errors), names };
}

describe('ONNX', () => {
  it.each(['model.onnx', 'dynamo.onnx'])('every layer of %s has PyTorch gradients', (file) => {
    const path = at('operations', file);
    const { recipe, own } = importOnnx(readOnnx(path), path, view(at('operations', 'checkpoint.pt')));
    const { worst, names } = worstError(recipe, 'operations', ['checkpoint.pt', 'gradient.pt']);
    expect(worst).toBeLessThan(1e-5);
    expect(names.length).toBe(17);
    expect([...own.keys()]).toEqual([]);
    expect(recipe.input).toEqual([3, 24, 24]);
  });

  it.each(['model.onnx', 'dynamo.onnx'])('groups, instances and bounds of %s have PyTorch gradients', (file) => {
    const path = at('normed', file);
    const { recipe, own } = importOnnx(readOnnx(path), path, view(at('normed', 'checkpoint.pt')));
    const { worst, names } = worstError(recipe, 'normed', ['checkpoint.pt', 'gradient.pt']);
    expect(worst).toBeLessThan(1e-5);
    expect(names.length).toBe(12);
    expect([...own.keys()]).toEqual([]);
    expect(recipe.layers.map(({ op }) => op)).toContain('clip');
  });

  it('knows transposed weights by their values', () => {
    const path = at('mlp', 'model.onnx');
    const { recipe } = importOnnx(readOnnx(path), path, view(at('mlp', 'checkpoint.pt')));
    expect(worstError(recipe, 'mlp', ['checkpoint.pt', 'gradient.pt']).worst).toBeLessThan(1e-5);
  });

  it('says so when batch normalisation was folded away', () => {
    const path = at('operations', 'folded.onnx');
    expect(() => importOnnx(readOnnx(path), path, view(at('operations', 'checkpoint.pt')))).toThrow(
      /folded\.onnx: found convolutions into which the exporter has folded batch normalisation.*TrainingMode\.PRESERVE/,
    );
  });

  it('names operation and node that it does not know, and passes over dead ones', () => {
    const bytes = readFileSync(at('mlp', 'model.onnx'));
    const model = decodeOnnx(bytes);
    model.graph.node.unshift({ opType: 'Einsum', name: 'dead', input: [], output: ['nobody'] });
    const checkpoint = view(at('mlp', 'checkpoint.pt'));
    const file = { ...readOnnx(at('mlp', 'model.onnx')), model };
    expect(importOnnx(file, 'm.onnx', checkpoint).recipe.layers.length).toBeGreaterThan(5);
    const last = model.graph.node.find(({ opType }) => opType === 'Sigmoid')!;
    last.opType = 'Einsum';
    last.name = 'bad node';
    expect(() => importOnnx(file, 'm.onnx', checkpoint)).toThrow(
      /m\.onnx: found the operation Einsum \(node "bad node"\)/,
    );
  });

  it('refuses tensors outside of the model folder, lying sizes and broken bytes', () => {
    const file = readOnnx(at('mlp', 'model.onnx'));
    const external = (location: string, offset = '0') => ({
      dims: [2],
      dataType: 1,
      dataLocation: 1,
      externalData: [
        { key: 'location', value: location },
        { key: 'offset', value: offset },
      ],
    });
    expect(() => file.values(external('../operations/model.onnx'))).toThrow(/outside of the model's folder/);
    expect(() => file.values(external('/etc/passwd'))).toThrow(/outside of the model's folder/);
    expect(() => file.values(external('model.onnx', '99999999'))).toThrow(/beyond the end/);
    expect(() => file.values({ dims: [2 ** 40, 2 ** 40], dataType: 1 })).toThrow(/of shape/);
    expect(() => file.values({ dims: [3], dataType: 1, rawData: new Uint8Array(5) })).toThrow(
      /5 bytes for shape \[3\]/,
    );
    expect(() => file.values({ dims: [1], dataType: 8, rawData: new Uint8Array(1) })).toThrow(/unsupported type 8/);
    expect(() => readOnnx(at('lbfgs.json'))).toThrow(/lbfgs\.json: found .*expected an ONNX model/);
    expect(() => readOnnx(at('nothing.onnx'))).toThrow(/nothing\.onnx/);
  });

  it('writes what it reads', () => {
    const model = decodeOnnx(readFileSync(at('mlp', 'model.onnx')));
    expect(decodeOnnx(encodeOnnx(model)).graph.node).toEqual(model.graph.node);
  });
});

describe('Keras', () => {
  it.each(['net.keras', 'net.h5', 'topology.json'])('%s has the gradients of TensorFlow', async (file) => {
    const path = at('keras', file);
    const value = file.endsWith('.json')
      ? (JSON.parse(readFileSync(path, 'utf8')) as unknown)
      : await readKerasModel(path);
    const recipe = importKeras(value, path);
    expect(recipe.input).toEqual([3, 12, 12]);
    expect(worstError(recipe, 'keras', ['checkpoint.npz', 'gradient.npz']).worst).toBeLessThan(1e-5);
  });

  it('names a layer that it does not know', () => {
    const model = {
      class_name: 'Sequential',
      config: [
        { class_name: 'Dense', config: { name: 'd', batch_input_shape: [null, 4] } },
        { class_name: 'LSTM', config: { name: 'memory' } },
      ],
    };
    expect(() => importKeras(model, 'm.json')).toThrow(/m\.json: found the layer LSTM "memory"/);
    expect(() => importKeras({}, 'm.json')).toThrow(/no Keras architecture/);
  });

  it('refuses files without an architecture', async () => {
    await expect(readKerasModel(at('lenet', 'checkpoint.pt'))).rejects.toThrow(/checkpoint\.pt: found/);
    await expect(readKerasModel(at('keras', 'checkpoint.npz').replace('.npz', '.keras'))).rejects.toThrow(/keras/);
  });
});

describe('recipes', () => {
  const good: Recipe = { schemaVersion: 1, input: [4], layers: [{ op: 'linear', weight: 'w' }] };

  it('are taken as they are when they fit the schema', () => {
    expect(parseRecipe(JSON.parse(JSON.stringify(good)), 'r.json')).toEqual(good);
    const written = JSON.parse(readFileSync(at('pooled', 'recipe.json'), 'utf8')) as unknown;
    expect(
      worstError(parseRecipe(written, 'recipe.json'), 'pooled', ['checkpoint.pt', 'gradient.pt']).worst,
    ).toBeLessThan(1e-5);
  });

  it.each([
    [{}, /no recipe/],
    [{ ...good, input: [0] }, /"input": \[0\]/],
    [{ ...good, layers: [] }, /no layers/],
    [
      { ...good, layers: [{ op: 'attention' }] },
      /layer 0 with the operation "attention"; expected one of conv, linear/,
    ],
    [{ ...good, layers: [{ op: 'conv' }] }, /layer 0 \(conv\) without "weight"/],
    [{ ...good, layers: [{ op: 'relu', slope: 1 }] }, /unknown field "slope"/],
    [{ ...good, layers: [{ op: 'max-pool', kernel: -1 }] }, /"kernel": -1; expected a whole number/],
    [{ ...good, layers: [{ op: 'linear', weight: 'w', layout: 'oihw' }] }, /"layout": "oihw"; expected kxd or dxk/],
  ])('are refused with what is wrong: %j', (value, message) => {
    expect(() => parseRecipe(value, 'r.json')).toThrow(message);
  });

  it('that do not fit the checkpoint name the layer', () => {
    const tensors = readTensors(at('lenet', 'checkpoint.pt'));
    const build = (layers: Recipe['layers']) => () =>
      gradientNodes({ schemaVersion: 1, input: [3, 32, 32], layers }, tensors, new Array<number>(10).fill(0.1));
    expect(build([{ op: 'conv', weight: 'missing' }])).toThrow(RecipeError);
    expect(build([{ op: 'conv', weight: 'missing' }])).toThrow(
      /layer 0 \(conv "missing"\): the checkpoint holds no tensor "missing"/,
    );
    expect(build([{ op: 'conv', weight: '7.weight' }])).toThrow(/"7\.weight" is of shape \[10, 768\]/);
    expect(build([{ op: 'flatten' }, { op: 'linear', weight: '7.weight' }])).toThrow(
      /layer 1 \(linear "7\.weight"\): \[1, 3072\]/,
    );
    expect(build([{ op: 'relu' }])).toThrow(/not one row of logits/);
    expect(build([{ op: 'add', inputs: ['input', 'later'] }])).toThrow(/no earlier layer with the id "later"/);
  });
});

describe('built-in networks', () => {
  it.each([
    ['lenet', 'LeNet of DLG'],
    ['resnet18', 'ResNet-18, CIFAR style, width 16'],
    ['alexnet', 'AlexNet, torchvision'],
    ['vgg11', 'VGG-11, torchvision'],
  ])('%s is %s', (name, expected) => {
    const { tensors, shape } = secondOrderCases()[name]!;
    const [first] = recogniseNetwork(
      tensors.map(([own, size]) => ({ name: own, shape: size })),
      { inputShape: shape.slice(1) },
    );
    expect(first?.name).toContain(expected);
  });

  it('tells depth and blocks of ResNets by their names', () => {
    const tensors = [{ name: 'conv1.weight', shape: [64, 3, 7, 7] }];
    [3, 4, 6, 3].forEach((blocks, stage) => {
      for (let block = 0; block < blocks; block++) {
        for (const conv of [1, 2, 3]) {
          tensors.push({
            name: `layer${stage + 1}.${block}.conv${conv}.weight`,
            shape: [64, 64, conv === 2 ? 3 : 1, conv === 2 ? 3 : 1],
          });
        }
      }
    });
    tensors.push({ name: 'fc.weight', shape: [1000, 2048] });
    const [found] = recogniseNetwork(tensors, {});
    expect(found?.name).toBe('ResNet-50 with bottlenecks, torchvision, width 64');
    expect(found?.recipe.input).toEqual([3, 224, 224]);
  });

  it('are none for what is not known', () => {
    expect(recogniseNetwork([{ name: 'lstm.weight_ih', shape: [4, 4] }], {})).toEqual([]);
    expect(recogniseNetwork([], {})).toEqual([]);
  });
});

describe('the groups of group normalisation', () => {
  it('are told from filters and their gradients', () => {
    const parameters = readTensors(at('normed', 'checkpoint.pt'));
    const gradients = readTensors(at('normed', 'gradient.pt'));
    const fits = (groups: number): boolean | undefined => {
      const recipe: Recipe = {
        schemaVersion: 1,
        input: [3, 8, 8],
        layers: [
          { op: 'conv', weight: 'conv1.weight' },
          { op: 'group-norm', groups },
        ],
      };
      return fitsGroups(
        recipe,
        (name) => parameters.get(name),
        (name) => gradients.get(name),
      );
    };
    // Of PyTorch's four, any coarser number fits as well, and no finer one.
    expect([1, 2, 4, 8].map(fits)).toEqual([true, true, true, false]);
  });

  it('are candidates where a ResNet has no running statistics, the finest first', () => {
    const shapes = ['conv1', 'layer1.0.conv1', 'layer1.0.conv2'].map((name, index) => ({
      name: `${name}.weight`,
      shape: [16, index === 0 ? 3 : 16, 3, 3],
    }));
    const norms = ['bn1', 'layer1.0.bn1', 'layer1.0.bn2'].flatMap((name) =>
      ['weight', 'bias'].map((own) => ({ name: `${name}.${own}`, shape: [16] })),
    );
    const found = recogniseNetwork([...shapes, ...norms, { name: 'fc.weight', shape: [5, 16] }], {});
    const groups = found.map(({ recipe }) =>
      recipe.layers.flatMap((own) => (own.op === 'group-norm' ? own.groups : [])),
    );
    expect(groups.map(([first]) => first)).toEqual([undefined, 16, 16, 8, 4, 2, 1]);
    expect(found[3]!.name).toBe('ResNet-4, CIFAR style, width 16, group normalisation over 8 groups');
  });
});

describe('the mode of batch normalisation', () => {
  it.each(['train', 'eval'] as const)('is told to be %s from weights and gradients', (mode) => {
    const parameters = readTensors(at(`norm-${mode}`, 'checkpoint.pt'));
    const gradients = readTensors(at(`norm-${mode}`, 'gradient.pt'));
    const recipe: Recipe = {
      schemaVersion: 1,
      input: [3, 8, 8],
      layers: [
        { op: 'conv', weight: '0.weight', bias: '0.bias', padding: 1 },
        { op: 'batch-norm', weight: '1.weight', bias: '1.bias', mean: '1.running_mean', variance: '1.running_var' },
        { op: 'relu' },
        { op: 'conv', weight: '3.weight', bias: '3.bias', padding: 1 },
        { op: 'batch-norm', weight: '4.weight', bias: '4.bias', mean: '4.running_mean', variance: '4.running_var' },
      ],
    };
    expect(
      detectNormMode(
        recipe,
        (name) => parameters.get(name),
        (name) => gradients.get(name),
      ),
    ).toBe(mode);
    expect(
      detectNormMode(
        { ...recipe, layers: recipe.layers.slice(0, 1) },
        () => undefined,
        () => undefined,
      ),
    ).toBeNull();
  });
});
