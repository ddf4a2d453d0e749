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

interface Body {
  readonly graph: TensorGraph;
  readonly parameter: (name: string) => TensorNode;
  readonly feeds: { readonly x: Float64Array };
  readonly hidden: TensorNode;
}

interface Step extends Body {
  readonly logits: TensorNode;
  readonly loss: TensorNode;
}

interface Row {
  readonly token: number;
  readonly position: number;
  /** Sequences that the token is in. */
  readonly of: readonly number[];
}

/** Tokens of many sequences as rows; those of several sequences are one row. */
function bodyOf(transformer: Transformer, { tensors }: Pick<TransformerCase, 'tensors'>, rows: readonly Row[]): Body {
  const graph = new TensorGraph(foldConstant);
  const parameter = (name: string): TensorNode => {
    const { data, shape } = tensors.get(name)!;
    return graph.parameter(name, data, shape);
  };
  const positions = Int32Array.from(rows, ({ position }) => position);
  const sees = Uint8Array.from(
    rows.flatMap((from) =>
      rows.map((to) =>
        from.of.some((sequence) => to.of.includes(sequence)) && attends(transformer, from.position, to.position)
          ? 1
          : 0,
      ),
    ),
  );
  const part = (name: string, index: number): Float64Array => {
    const { data, shape } = tensors.get(name)!;
    return Float64Array.from(data).subarray(index * shape.at(-1)!, (index + 1) * shape.at(-1)!);
  };
  const tokens = Int32Array.from(rows, ({ token }) => token);
  const x = embed(transformer, part, tokens, positions);
  const input = graph.variable('x', [rows.length, transformer.width]);
  const hidden = buildTransformer(graph, transformer, parameter, input, { positions, sees });
  return { graph, parameter, feeds: { x }, hidden };
}

/** One sequence after the other as rows. */
function rowsOf(tokens: TransformerCase['tokens']): Row[] {
  return tokens.flatMap((sequence, at) => sequence.map((token, position) => ({ token, position, of: [at] })));
}

function stepOf(transformer: Transformer, own: TransformerCase): Step {
  const { tokens, labels } = own;
  const body = bodyOf(transformer, own, rowsOf(tokens));
  const { graph, parameter, hidden } = body;
  const head = transformer.head!;
  const rows =
    head.kind === 'sequence-classifier'
      ? tokens.map(({ length }, at) => at * length + (head.reads === 'first' ? 0 : length - 1))
      : null;
  const read = headInput(graph, head, parameter, hidden, rows && Int32Array.from(rows));
  const logits = headLogits(graph, head, parameter, read);
  // Causal models are asked for the next token.
  const shift = head.kind === 'language-model' && transformer.causal ? 1 : 0;
  const asked = labels.flatMap((label, at) =>
    typeof label === 'number'
      ? [[at, label] as const]
      : label.slice(shift).map((one, position) => [at * label.length + position, one] as const),
  );
  const weights = new Float64Array(sizeOf(logits.shape));
  for (const [at, label] of asked) {
    weights[at * logits.shape[1]! + label] = -1 / asked.length;
  }
  const loss = graph.total(graph.mul(graph.constant(weights, logits.shape), logSoftmax(graph, logits, 1)));
  return { ...body, logits, loss };
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
  const { graph, parameter, feeds, hidden, logits, loss } = stepOf(transformer, own);
  const watched = expectedGradients(own);
  const slopes = gradients(
    graph,
    loss,
    watched.map(([tensor]) => parameter(tensor)),
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
      expect(relativeError(Float64Array.from(stored(found[at]!)), expected)).toBeLessThan(1e-5);
    });
    await program.dispose();
  });
});

describe.each(['gpt2', 'llama', 'mistral', 'qwen3', 'gemma'])('%s', (name) => {
  it('has the same hidden states where sequences share the rows of their beginning', () => {
    const own = transformerCase(name);
    const transformer = readAs(own.entries, own.config);
    const [first, other] = own.tokens as [number[], number[]];
    const second = [...first.slice(0, 2), ...other.slice(2)];
    const apart = bodyOf(transformer, own, rowsOf([first, second]));
    const tree = bodyOf(transformer, own, [
      ...first.map((token, position) => ({ token, position, of: position < 2 ? [0, 1] : [0] })),
      ...other.slice(2).map((token, at) => ({ token, position: at + 2, of: [1] })),
    ]);
    const [separate] = evaluate([apart.hidden], apart.feeds);
    const [shared] = evaluate([tree.hidden], tree.feeds);
    const { width } = transformer;
    expect(relativeError(shared!.subarray(0, 5 * width), separate!.subarray(0, 5 * width))).toBeLessThan(1e-14);
    expect(relativeError(shared!.subarray(5 * width), separate!.subarray(7 * width))).toBeLessThan(1e-14);
  });
});

describe('what does not fit', () => {
  const own = transformerCase('gpt2');
  const transformer = readAs(own.entries, own.config);
  const row = { token: 3, position: 0, of: [0] };

  it('is said of tokens and rows', () => {
    expect(() => bodyOf(transformer, own, [{ ...row, token: 40 }])).toThrow(/numbers below 40/);
    expect(() => bodyOf(transformer, own, [{ ...row, position: 8 }])).toThrow(/Positions are numbers below 8/);
    const { graph, parameter, hidden } = bodyOf(transformer, own, [row]);
    expect(() => headInput(graph, transformer.head!, parameter, hidden, Int32Array.of(1))).toThrow(
      /Row 1 is none of 1/,
    );
    const places = { positions: Int32Array.of(0, 1), sees: Uint8Array.of(1) };
    expect(() => buildTransformer(graph, transformer, parameter, hidden, places)).toThrow(/1 tokens need as many/);
  });
});
