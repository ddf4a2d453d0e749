import type { TensorGraph } from '../../src/graph/tensor-graph.js';
import { recogniseNetwork } from '../../src/network/built-in.js';
import type { NormMode } from '../../src/network/layers/layer-rule.js';
import { type NetworkGraph, type StoredTensor, buildNetwork } from '../../src/network/network-graph.js';

/** Networks as they are before training, for inputs of 3 x 32 x 32. */
export interface RandomNetwork {
  readonly name: 'lenet' | 'resnet18';
  readonly width: number;
}

function shapesOf({ name, width }: RandomNetwork): [string, number[]][] {
  if (name === 'lenet') {
    return [
      ...[0, 2, 4].flatMap((layer): [string, number[]][] => [
        [`${layer}.weight`, [12, layer === 0 ? 3 : 12, 5, 5]],
        [`${layer}.bias`, [12]],
      ]),
      ['7.weight', [10, 768]],
      ['7.bias', [10]],
    ];
  }
  const shapes: [string, number[]][] = [];
  const norm = (at: string, size: number): void => {
    for (const part of ['weight', 'bias', 'running_mean', 'running_var']) {
      shapes.push([`${at}.${part}`, [size]]);
    }
  };
  const conv = (at: string, out: number, inputs: number, kernel: number, bn: string): void => {
    shapes.push([`${at}.weight`, [out, inputs, kernel, kernel]]);
    norm(bn, out);
  };
  conv('conv1', width, 3, 3, 'bn1');
  let inputs = width;
  for (let stage = 1; stage <= 4; stage++) {
    const out = width * 2 ** (stage - 1);
    for (let block = 0; block < 2; block++) {
      const at = `layer${stage}.${block}`;
      conv(`${at}.conv1`, out, inputs, 3, `${at}.bn1`);
      conv(`${at}.conv2`, out, out, 3, `${at}.bn2`);
      if (inputs !== out) {
        conv(`${at}.shortcut.0`, out, inputs, 1, `${at}.shortcut.1`);
      }
      inputs = out;
    }
  }
  shapes.push(['linear.weight', [10, 8 * width]], ['linear.bias', [10]]);
  return shapes;
}

export function randomNetwork(
  network: RandomNetwork,
  graph: TensorGraph,
  mode: NormMode,
  random: () => number,
): { tensors: Map<string, StoredTensor>; net: NetworkGraph } {
  const shapes = shapesOf(network);
  const tensors = new Map(
    shapes.map(([name, shape]): [string, StoredTensor] => {
      const size = shape.reduce((product, own) => product * own, 1);
      const fanIn = size / (shape[0] ?? 1);
      const isScale = name.endsWith('var') || /(bn\d|shortcut\.1)\.weight$/.test(name);
      const data = Float32Array.from({ length: size }, () => (isScale ? 1 : ((random() - 0.5) * 2) / Math.sqrt(fanIn)));
      return [name, { shape, data }];
    }),
  );
  const [candidate] = recogniseNetwork(
    shapes.map(([name, shape]) => ({ name, shape })),
    { inputShape: [3, 32, 32] },
  );
  if (!candidate) {
    throw new Error(`${network.name} was not recognised.`);
  }
  return { tensors, net: buildNetwork(graph, candidate.recipe, (name) => tensors.get(name), 1, mode) };
}
