import { foldConstant } from '../../src/graph/evaluate.js';
import { TensorGraph, type TensorNode } from '../../src/graph/tensor-graph.js';
import { matchingGraph } from '../../src/recovery/matching/objective.js';
import { PRESETS } from '../../src/recovery/matching/presets.js';
import { generator } from '../../src/recovery/paper-method.js';
import { type RandomNetwork, randomNetwork } from './random-network.js';

export { makeEngine } from '../../src/engine/make-engine.js';

/** Loss and slope of a gradient matching step, of random numbers; variable "x". Bundled with other commits' sources too. */
export function matchingOutputs(network: RandomNetwork): TensorNode[] {
  const random = generator(1);
  const graph = new TensorGraph(foldConstant);
  const { net } = randomNetwork(network, graph, 'eval', random);
  const captured = [...net.parameters].map(([parameter, node]) => ({
    parameter,
    data: Float32Array.from({ length: node.shape.reduce((product, own) => product * own, 1) }, () => random() - 0.5),
  }));
  const labels = new Float64Array(10).fill(0.1);
  const settings = {
    ...PRESETS.dlg,
    labels: 'recovered',
    distance: network.name === 'lenet' ? 'l2' : 'cosine',
  } as const;
  const step = matchingGraph(
    graph,
    net,
    undefined,
    captured,
    { labels, classes: 10, features: undefined, scale: 1 },
    settings,
    () => undefined,
  );
  return [step.loss, ...step.slopes];
}
