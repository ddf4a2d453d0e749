import { describe, expect, it } from 'vitest';
import { makeEngine } from '../../../../src/engine/make-engine.js';
import { gradients } from '../../../../src/graph/derivative.js';
import { evaluate, foldConstant } from '../../../../src/graph/evaluate.js';
import { TensorGraph, type TensorNode, sizeOf } from '../../../../src/graph/tensor-graph.js';
import { logSoftmax } from '../../../../src/network/layers/activations.js';
import { embed } from '../../../../src/network/transformers/embed.js';
import {
  attends,
  buildTransformer,
  headInput,
  headLogits,
} from '../../../../src/network/transformers/transformer-graph.js';
import type { Transformer } from '../../../../src/network/transformers/transformer.js';
import { relativeError } from '../../../networks.js';
import { TRANSFORMER_NAMES, type TransformerCase, readAs, transformerCase } from '../../../transformers.js';

/** Hidden states, logits and gradients of every family, against transformers' own in float64. */

/** As the fixtures' script has it: gradients of more numbers are stored in part. */
const STRIDE = 11;
const WHOLE = 64;

interface Step {
  readonly graph: TensorGraph;
  readonly input: TensorNode;
  readonly feeds: { readonly x: Float64Array };
  readonly hidden: TensorNode;
  readonly logits: TensorNode;
  readonly loss: TensorNode;
  readonly parameters: ReadonlyMap<string, TensorNode>;
}

/** One sequence after the other as rows. */
function stepOf(transformer: Transformer, { tensors, tokens, labels }: TransformerCase): Step {
  const graph = new TensorGraph(foldConstant);
  const parameters = new Map<string, TensorNode>();
  const parameter = (name: string): TensorNode => {
    const { data, shape } = tensors.get(name)!;
    const node = parameters.get(name) ?? graph.parameter(name, data, shape);
    parameters.set(name, node);
    return node;
  };
  const places = tokens.flatMap((sequence, at) => sequence.map((_, position) => ({ at, position })));
  const positions = Int32Array.from(places, ({ position }) => position);
  const sees = Uint8Array.from(
    places.flatMap((from) =>
      places.map((to) => (from.at === to.at && attends(transformer, from.position, to.position) ? 1 : 0)),
    ),
  );
  const row = (name: string, index: number): Float64Array => {
    const { data, shape } = tensors.get(name)!;
    return Float64Array.from(data).subarray(index * shape.at(-1)!, (index + 1) * shape.at(-1)!);
  };
  const x = embed(transformer, row, Int32Array.from(tokens.flat()), positions);
  const input = graph.variable('x', [positions.length, transformer.width]);
  const hidden = buildTransformer(graph, transformer, parameter, input, { positions, sees });
  const head = transformer.head!;
  const rows =
    head.kind === 'sequence-classifier'
      ? tokens.map(({ length }, at) => at * length + (head.reads === 'first' ? 0 : length - 1))
      : null;
  const read = headInput(graph, head, parameter, hidden, rows && Int32Array.from(rows));
  const logits = headLogits(graph, head, parameter, read);
  // Causal models are asked for the next token.
  const shift = head.kind === 'language-model' && transformer.causal ? 1 : 0;
  const asked = labels.flatMap((own, at) =>
    Array.isArray(own)
      ? (own as number[]).slice(shift).map((label, position) => [at * own.length + position, label] as const)
      : [[at, own as number] as const],
  );
  const weights = new Float64Array(sizeOf(logits.shape));
  for (const [at, label] of asked) {
    weights[at * logits.shape[1]! + label] = -1 / asked.length;
  }
  const loss = graph.total(graph.mul(graph.constant(weights, logits.shape), logSoftmax(graph, logits, 1)));
  return { graph, input, feeds: { x }, hidden, logits, loss, parameters };
}

function expectedGradients({ expected }: TransformerCase): [name: string, values: Float64Array][] {
  return [...expected].flatMap(([name, { data }]) =>
    name.startsWith('gradient.') ? [[name.slice('gradient.'.length), Float64Array.from(data)] as const] : [],
  );
}

function stored(values: ArrayLike<number>): number[] {
  const all = Array.from(values);
  return all.length <= WHOLE ? all : all.filter((_, at) => at % STRIDE === 0);
}

describe.each(TRANSFORMER_NAMES)('%s', (name) => {
  const own = transformerCase(name);
  const transformer = readAs(own.entries, own.config);
  const { graph, feeds, hidden, logits, loss, parameters } = stepOf(transformer, own);
  const watched = expectedGradients(own);
  const slopes = gradients(
    graph,
    loss,
    watched.map(([parameter]) => parameters.get(parameter)!),
  );

  it("has transformers' hidden states, logits and gradients in float64", () => {
    const [states, scores, value, ...found] = evaluate([hidden, logits, loss, ...slopes], feeds);
    expect(relativeError(states!, own.expected.get('hidden')!.data)).toBeLessThan(1e-12);
    expect(relativeError(scores!, own.expected.get('logits')!.data)).toBeLessThan(1e-12);
    expect(value![0]).toBeCloseTo(own.loss, 11);
    expect(watched.length).toBeGreaterThan(4);
    watched.forEach(([, expected], at) => {
      expect(relativeError(Float64Array.from(stored(found[at]!)), expected)).toBeLessThan(1e-10);
    });
  });

  it('has them on onnxruntime in float32', async () => {
    const program = await (await makeEngine('onnxruntime-cpu')).compile([hidden, logits, ...slopes]);
    const [states, scores, ...found] = await program.run(feeds);
    expect(relativeError(states!, own.expected.get('hidden')!.data)).toBeLessThan(1e-5);
    expect(relativeError(scores!, own.expected.get('logits')!.data)).toBeLessThan(1e-5);
    watched.forEach(([, expected], at) => {
      expect(relativeError(Float64Array.from(stored(found[at]!)), expected)).toBeLessThan(5e-5);
    });
    await program.dispose();
  });
});
