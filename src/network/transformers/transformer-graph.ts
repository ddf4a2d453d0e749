import type { TensorGraph, TensorNode } from '../../graph/tensor-graph.js';
import { geluOf, siluOf } from '../layers/activations.js';
import { normalise } from '../layers/normalisation.js';
import type { Block, Head, Norm, Projection, Transformer, TransformerActivation } from './transformer.js';

/** A transformer as nodes of a tensor graph, without dropout. Tokens are rows: N of them, of one sequence or of many. */

/** A tensor of the checkpoint by its name, of the checkpoint's shape. */
export type ParameterOf = (name: string) => TensorNode;

/** Where the N tokens stand. */
export interface Places {
  /** N positions, from 0. */
  readonly positions: Int32Array;
  /** N x N, 1 where the row's token attends to the column's; to nothing at all in a row without one, as in PyTorch. */
  readonly sees: Uint8Array;
}

/** What is added to the score of a token that is not seen, so that nothing is left of it behind the softmax. */
const UNSEEN = -1e30;

/** Sums of embeddings, N x width, behind the embedding's norm. */
export function normedEmbedding(
  graph: TensorGraph,
  { embedding }: Transformer,
  parameter: ParameterOf,
  sums: TensorNode,
): TensorNode {
  return embedding.norm ? normed(graph, parameter, embedding.norm, sums) : sums;
}

/**
 * The hidden states behind the last block and its norm.
 *
 * @param input N x width: tokens embedded, behind the embedding's norm
 * @returns N x width
 * @throws RangeError when places are not of N tokens, or parameters of other shapes than the transformer says
 */
export function buildTransformer(
  graph: TensorGraph,
  transformer: Transformer,
  parameter: ParameterOf,
  input: TensorNode,
  places: Places,
): TensorNode {
  const count = input.shape[0]!;
  if (places.positions.length !== count || places.sees.length !== count * count) {
    throw new RangeError(`${count} tokens need as many positions, and a mask of their pairs.`);
  }
  const builder = new BlockBuilder(graph, transformer, parameter, places);
  const hidden = transformer.blocks.reduce((x, block) => builder.forward(block, x), input);
  return transformer.finalNorm ? normed(graph, parameter, transformer.finalNorm, hidden) : hidden;
}

/**
 * What the head's last matrix multiplies.
 *
 * @param hidden N x width, as `buildTransformer` gives them
 * @param rows tokens whose logits are wanted: of a classifier of sequences the one that it reads of each; null for all
 * @returns rows x width
 */
export function headInput(
  graph: TensorGraph,
  head: Head,
  parameter: ParameterOf,
  hidden: TensorNode,
  rows: Int32Array | null,
): TensorNode {
  const read = rows ? selected(graph, hidden, rows) : hidden;
  switch (head.kind) {
    case 'token-classifier':
      return read;
    case 'sequence-classifier':
      return head.hidden.reduce(
        (x, { dense, activation }) => activated(graph, activation, project(graph, parameter, dense, x)),
        read,
      );
    case 'language-model': {
      if (!head.transform) {
        return read;
      }
      const { dense, norm, activation } = head.transform;
      return normed(graph, parameter, norm, activated(graph, activation, project(graph, parameter, dense, read)));
    }
  }
}

/**
 * Logits from what the last matrix multiplies.
 *
 * @param input rows x width, as `headInput` gives it
 * @returns rows x classes, or rows x vocabulary
 */
export function headLogits(graph: TensorGraph, head: Head, parameter: ParameterOf, input: TensorNode): TensorNode {
  if (head.kind !== 'language-model') {
    return project(graph, parameter, head.output, input);
  }
  const weight = parameter(head.weight);
  const { bias } = head;
  return project(
    graph,
    parameter,
    { weight: head.weight, bias, transposed: false, start: 0, outputs: weight.shape[0]! },
    input,
  );
}

/** Whether a token at one position attends to one at another of the same sequence. */
export function attends({ causal, window }: Transformer, from: number, to: number): boolean {
  return (!causal || to <= from) && (window === null || from - to <= window);
}

/**
 * What the second block's attention is given, of a model with its norms first, from what is inside of the first block's.
 *
 * @param state N x width: tokens embedded
 * @param mixed N x (heads x headWidth): what the output projection is given
 * @returns N x width
 */
export function secondInputs(
  graph: TensorGraph,
  transformer: Transformer,
  parameter: ParameterOf,
  state: TensorNode,
  mixed: TensorNode,
): TensorNode {
  const [first, second] = transformer.blocks as [Block, Block];
  const attended = graph.add(state, project(graph, parameter, first.output, mixed));
  const normal = normed(graph, parameter, first.mlpNorm, attended);
  const next = graph.add(attended, mlpOf(graph, transformer, parameter, first, normal));
  return normed(graph, parameter, second.attentionNorm, next);
}

class BlockBuilder {
  private readonly mask: TensorNode;
  /** 0 for tokens that attend to nothing, else 1, of N; null where all do. */
  private readonly attending: TensorNode | null;
  /** Of each token and pair, N x headWidth / 2; null without rotation. */
  private readonly turns: { readonly cos: TensorNode; readonly sin: TensorNode } | null;

  constructor(
    private readonly graph: TensorGraph,
    private readonly transformer: Transformer,
    private readonly parameter: ParameterOf,
    { positions, sees }: Places,
  ) {
    const count = positions.length;
    this.mask = graph.constant(
      Float64Array.from(sees, (seen) => (seen ? 0 : UNSEEN)),
      [count, count],
    );
    const attending = Float64Array.from(positions, (_, row) =>
      Number(sees.subarray(row * count, (row + 1) * count).includes(1)),
    );
    this.attending = attending.includes(0) ? graph.constant(attending, [count, 1]) : null;
    const { rotary } = transformer;
    if (!rotary) {
      this.turns = null;
      return;
    }
    const pairs = rotary.frequencies.length;
    const table = (of: (angle: number) => number): TensorNode =>
      graph.constant(
        Float64Array.from(
          { length: count * pairs },
          (_, at) => rotary.scale * of(positions[Math.floor(at / pairs)]! * rotary.frequencies[at % pairs]!),
        ),
        [count, pairs],
      );
    this.turns = { cos: table(Math.cos), sin: table(Math.sin) };
  }

  forward(block: Block, x: TensorNode): TensorNode {
    const { graph, parameter } = this;
    const { normFirst } = this.transformer;
    const attention = (input: TensorNode): TensorNode => this.attention(block, input);
    const mlp = (input: TensorNode): TensorNode => mlpOf(graph, this.transformer, parameter, block, input);
    return [[block.attentionNorm, attention] as const, [block.mlpNorm, mlp] as const].reduce(
      (state, [norm, layer]) =>
        normFirst
          ? graph.add(state, layer(normed(graph, parameter, norm, state)))
          : normed(graph, parameter, norm, graph.add(state, layer(state))),
      x,
    );
  }

  private attention(block: Block, x: TensorNode): TensorNode {
    const { graph, parameter } = this;
    const { heads, keyValueHeads } = this.transformer;
    const [query, key] = (
      [
        [block.query, heads, block.queryNorm],
        [block.key, keyValueHeads, block.keyNorm],
      ] as const
    ).map(([projection, own, norm]) => {
      const parted = this.parted(projection, own, x);
      return this.rotated(norm ? normed(graph, parameter, norm, parted) : parted);
    }) as [TensorNode, TensorNode];
    const value = this.parted(block.value, keyValueHeads, x);
    const products = graph.matmul(query, this.repeated(key), false, true);
    const scores = graph.add(graph.scale(products, block.attentionScale), this.mask);
    const powers = graph.unary('exp', graph.sub(scores, graph.maxOver(scores, [2])));
    const shares = graph.div(powers, graph.sum(powers, [2]));
    const weights = this.attending ? graph.mul(shares, this.attending) : shares;
    const mixed = graph.transpose(graph.matmul(weights, this.repeated(value)), [1, 0, 2]);
    const [count, , width] = mixed.shape as [number, number, number];
    return project(graph, parameter, block.output, graph.reshape(mixed, [count, heads * width]));
  }

  /** A projection's outputs by heads: heads x N x headWidth. */
  private parted(projection: Projection, heads: number, x: TensorNode): TensorNode {
    const { graph, parameter } = this;
    const outputs = project(graph, parameter, projection, x);
    return graph.transpose(graph.reshape(outputs, [x.shape[0]!, heads, this.transformer.headWidth]), [1, 0, 2]);
  }

  /** Each pair of entries, half a head apart, turned by its token's angle. */
  private rotated(x: TensorNode): TensorNode {
    if (!this.turns) {
      return x;
    }
    const { graph } = this;
    const { cos, sin } = this.turns;
    const [heads, count, width] = x.shape as [number, number, number];
    const half = width / 2;
    const first = graph.slice(x, [0, 0, 0], [heads, count, half]);
    const second = graph.slice(x, [0, 0, half], [heads, count, half]);
    return graph.concat(
      [
        graph.sub(graph.mul(first, cos), graph.mul(second, sin)),
        graph.add(graph.mul(second, cos), graph.mul(first, sin)),
      ],
      2,
    );
  }

  /** Keys or values once for each head that shares them. */
  private repeated(x: TensorNode): TensorNode {
    const { heads, keyValueHeads } = this.transformer;
    const [, count, width] = x.shape as [number, number, number];
    const { graph } = this;
    const apart = graph.reshape(x, [keyValueHeads, 1, count, width]);
    return graph.reshape(graph.expand(apart, [keyValueHeads, heads / keyValueHeads, count, width]), [
      heads,
      count,
      width,
    ]);
  }
}

function mlpOf(
  graph: TensorGraph,
  { activation }: Transformer,
  parameter: ParameterOf,
  block: Block,
  x: TensorNode,
): TensorNode {
  const up = project(graph, parameter, block.up, x);
  const inner = block.gate
    ? graph.mul(activated(graph, activation, project(graph, parameter, block.gate, x)), up)
    : activated(graph, activation, up);
  return project(graph, parameter, block.down, inner);
}

/** rows x inputs to rows x outputs. Where projections share a tensor, their products are one. */
function project(graph: TensorGraph, parameter: ParameterOf, projection: Projection, x: TensorNode): TensorNode {
  const { weight, bias, transposed, start, outputs } = projection;
  const product = graph.matmul(x, parameter(weight), false, !transposed);
  const all = bias === null ? product : graph.add(product, parameter(bias));
  return graph.slice(all, [0, start], [x.shape[0]!, outputs]);
}

/** Over the last axis. */
function normed(graph: TensorGraph, parameter: ParameterOf, norm: Norm, x: TensorNode): TensorNode {
  const axis = x.shape.length - 1;
  const normal =
    norm.kind === 'layer'
      ? normalise(graph, x, [axis], norm.epsilon)
      : graph.div(x, graph.unary('sqrt', graph.add(graph.mean(graph.square(x), [axis]), graph.scalar(norm.epsilon))));
  const gain = graph.add(parameter(norm.weight), graph.scalar(norm.offset));
  const scaled = graph.mul(normal, gain);
  return norm.bias === null ? scaled : graph.add(scaled, parameter(norm.bias));
}

function activated(graph: TensorGraph, activation: TransformerActivation, x: TensorNode): TensorNode {
  switch (activation) {
    case 'gelu':
      return geluOf(graph, x, false);
    case 'gelu-tanh':
      return geluOf(graph, x, true);
    case 'silu':
      return siluOf(graph, x);
    case 'relu':
    case 'tanh':
      return graph.unary(activation, x);
  }
}

/** Rows of a matrix, as a product with a matrix of zeros and ones. */
function selected(graph: TensorGraph, x: TensorNode, rows: Int32Array): TensorNode {
  const count = x.shape[0]!;
  const choice = new Float64Array(rows.length * count);
  rows.forEach((row, at) => {
    if (row < 0 || row >= count) {
      throw new RangeError(`Row ${row} is none of ${count}.`);
    }
    choice[at * count + row] = 1;
  });
  return graph.matmul(graph.constant(choice, [rows.length, count]), x);
}
