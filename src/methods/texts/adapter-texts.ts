import { evaluateWithProduct } from '../../graph/evaluate-with-product.js';
import { foldConstant } from '../../graph/evaluate.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import { TensorGraph, type TensorNode } from '../../graph/tensor-graph.js';
import type { Adapter } from '../../network/transformers/adapters.js';
import { secondInputs } from '../../network/transformers/transformer-graph.js';
import type { Projection, Transformer } from '../../network/transformers/transformer.js';
import type { Pause } from '../../recovery/pause.js';
import {
  type AdapterSpace,
  CLEAR_GAP,
  spaceOfFirstFactors,
  spaceOfSecondFactor,
} from '../../recovery/text/adapter-space.js';
import { type Candidates, byPositionItself, candidatesIn } from '../../recovery/text/first-inputs.js';
import { type Beyond, searchByNextBlock } from '../../recovery/text/next-block-search.js';
import { MOST_REPEATS, type PrefixNode } from '../../recovery/text/prefix-forest.js';
import { joined } from '../../recovery/vectors.js';
import type { AdaptedTensors } from './adapted-tensors.js';
import { type ConfirmedTexts, confirmTexts } from './adapter-confirm.js';
import { firstAttentionOf, firstInputsOf } from './first-block.js';
import { lookUpsOf } from './looked-up.js';
import { NO_LOSS, NO_TOKEN } from './refusals.js';

/** Texts of a causal language model of which only adapters were trained. */

export interface AdapterTexts {
  readonly inputs: AdapterInputs;
  readonly beyond: AdapterInputs;
  readonly candidates: Candidates;
  readonly nodes: readonly PrefixNode[];
  readonly nextNearest: number;
  /** Undefined where the model's head is no language model's. */
  readonly confirmed: ConfirmedTexts | undefined;
}

/** What the adapters of maps that share an input tell of it. */
export interface AdapterInputs {
  readonly space: AdapterSpace;
  /** lora_B was zero: only gradients of it tell something. */
  readonly isFresh: boolean;
  /** Tokens that a batch may have so that they can be told: fewer, where the adapters are fresh. */
  readonly room: number;
}

const MOST_PREFIXES = 512;
/** Of pairs of a token and a position; many more fit by chance where the spaces have little room. */
const MOST_CANDIDATES = 4096;

/** @returns a sentence where nothing was found */
export async function findAdapterTexts(
  transformer: Transformer,
  tensors: AdaptedTensors,
  error: number,
  product: ProductKernel,
  progress: (message: string, share: number) => void,
  pause: Pause,
): Promise<AdapterTexts | string> {
  const given = firstInputsOf(transformer, tensors);
  const [first] = transformer.blocks;
  if (!given || !first || !transformer.normFirst) {
    return 'The model has no block with a norm before its attention.';
  }
  const broken = tensors.factorsOf(transformer.blocks).find((name) => !tensors.gradient(name).every(Number.isFinite));
  if (broken !== undefined) {
    return `The gradient of "${broken}" holds NaN or infinite values: capture that of a step that did not overflow.`;
  }
  progress("Finding the space of the first attention's adapters", 0.05);
  const spacesOf = (projections: readonly Projection[]): Promise<AdapterInputs | string> =>
    inputsOf(tensors, projections, error, product, pause);
  const inputs = await spacesOf([first.query, first.key, first.value]);
  if (typeof inputs === 'string') {
    return inputs;
  }
  progress('Trying every token', 0.15);
  const { tokens, positions } = lookUpsOf(transformer, tensors);
  const candidates = await candidatesIn(given, inputs.space.space, tokens, positions, product, pause, inputs.space.map);
  if (candidates.count === 0) {
    return whyNone(inputs);
  }
  if (candidates.count > MOST_CANDIDATES) {
    return `${candidates.count} tokens fit the adapters of the first attention, far more than the ${inputs.room} that they have room for: the batch has nearly as many tokens as their rank, or noise was added.`;
  }
  progress('Joining tokens to texts', 0.4);
  const found = await orderedBy(transformer, tensors, spacesOf, product);
  if (typeof found === 'string') {
    const count = candidates.count === 1 ? '1 token' : `${candidates.count} tokens`;
    return `${count} of the batch can be told from the adapters of the first attention, and not their order. ${found}`;
  }
  const attention = firstAttentionOf(transformer, tensors);
  const { nodes, nextNearest, crowded } = await searchByNextBlock(
    given,
    attention,
    found.beyond,
    { byPosition: byPositionItself(candidates.byPosition, positions) },
    {
      most: MOST_PREFIXES,
      total: 2 * found.inputs.room,
      length: found.inputs.room + MOST_REPEATS + 1,
      window: transformer.window,
    },
    product,
    pause,
  );
  if (crowded) {
    return 'More beginnings of texts fit the adapters than their rank has room for: the order of tokens is not told.';
  }
  if (nodes.length === 0) {
    const fit = candidates.count === 1 ? '1 token fits' : `${candidates.count} tokens fit`;
    const why = mayHide(found.inputs)
      ? `the batch has at least ${found.inputs.room} tokens, and more than that their rank hides; or dropout was on, or noise was added`
      : 'dropout was on, noise was added, or later blocks are of another checkpoint';
    return `${fit} the adapters of the first attention, and no text that begins with them fits those that come next: ${why}.`;
  }
  progress('Computing the gradient of the texts', 0.7);
  const { head } = transformer;
  const confirmed =
    head?.kind === 'language-model' ? await confirmTexts(transformer, tensors, head, nodes, product, pause) : undefined;
  return { inputs, beyond: found.inputs, candidates, nodes, nextNearest, confirmed };
}

/** Whether there may be more inputs than the adapters have rank. */
function mayHide({ space: { isFull, space }, isFresh }: AdapterInputs): boolean {
  return isFull || (isFresh && space.gap < CLEAR_GAP);
}

function whyNone(inputs: AdapterInputs): string {
  const rank = inputs.room;
  if (!inputs.space.isFull) {
    return mayHide(inputs)
      ? `${NO_TOKEN} Or the batch has at least ${rank} tokens, the rank of the adapters, which are fresh: that hides which.`
      : NO_TOKEN;
  }
  return `The gradients of the adapters have their full rank of ${rank}, and no token lies in their space: the batch has at least ${rank} tokens, and more than that the adapters' rank hides; or the gradient is of another checkpoint, or dropout was on.`;
}

async function inputsOf(
  tensors: AdaptedTensors,
  projections: readonly Projection[],
  error: number,
  product: ProductKernel,
  pause: Pause,
): Promise<AdapterInputs | string> {
  const adapters = tensors.adaptersOf(projections);
  const [any] = adapters;
  if (!any) {
    return 'No gradient of an adapter of these layers is there.';
  }
  const firsts = adapters
    .filter(({ a }) => tensors.hasGradient(a))
    .map((own) => ({ own, gradient: tensors.gradient(own.a) }))
    .filter(({ gradient }) => gradient.some((value) => value !== 0));
  if (firsts.length > 0) {
    const stacked = joined(firsts.map(({ gradient }) => gradient));
    const room = firsts.reduce((sum, { own }) => sum + own.rank, 0);
    const space = room < any.inputs ? await spaceOfFirstFactors(stacked, any.inputs, error, product, pause) : undefined;
    return space
      ? { space, isFresh: false, room }
      : `The adapters have a rank of ${room} together, and their inputs are ${any.inputs} long: they leave no room to tell tokens.`;
  }
  return freshInputs(tensors, adapters, error, product, pause);
}

async function freshInputs(
  tensors: AdaptedTensors,
  adapters: readonly Adapter[],
  error: number,
  product: ProductKernel,
  pause: Pause,
): Promise<AdapterInputs | string> {
  const live = adapters
    .filter(({ b }) => tensors.hasGradient(b))
    .map(({ a, b, rank }) => ({ a, rank, gradient: tensors.gradient(b) }))
    .filter(({ gradient }) => gradient.some((value) => value !== 0));
  // The first query of a text, and the only key of another, have no gradient; every value has one.
  const { a, rank: room, gradient } = live.at(-1) ?? { a: '', rank: 0, gradient: new Float64Array() };
  const space =
    live.length > 0 ? await spaceOfSecondFactor(gradient, tensors.value(a), room, error, product, pause) : undefined;
  if (space) {
    return { space, isFresh: true, room };
  }
  return live.length === 0
    ? NO_LOSS
    : `The adapters are fresh (lora_B is zero), so only the gradients of lora_B tell something, and they have their full rank of ${room}: the batch has at least ${room} tokens, and the adapters' rank hides which.`;
}

interface Order {
  readonly inputs: AdapterInputs;
  readonly beyond: Beyond;
}

/** By which adapters prefixes are judged: those of the second attention, or of the first one's output. */
async function orderedBy(
  transformer: Transformer,
  tensors: AdaptedTensors,
  spacesOf: (projections: readonly Projection[]) => Promise<AdapterInputs | string>,
  product: ProductKernel,
): Promise<Order | string> {
  const [first, second] = transformer.blocks;
  const next = second && (await spacesOf([second.query, second.key, second.value]));
  if (next !== undefined && typeof next !== 'string') {
    return { inputs: next, beyond: throughFirstBlock(transformer, tensors, next.space, product) };
  }
  const output = await spacesOf([first!.output]);
  return typeof output === 'string'
    ? (next ?? output)
    : {
        inputs: output,
        beyond: {
          space: output.space,
          width: transformer.heads * transformer.headWidth,
          inputsOf: (_, mixed) => Promise.resolve(mixed),
        },
      };
}

function throughFirstBlock(
  transformer: Transformer,
  tensors: AdaptedTensors,
  space: AdapterSpace,
  product: ProductKernel,
): Beyond {
  const { width } = transformer;
  const values = new Map<string, Float64Array>();
  const valueOf = (name: string): Float64Array => {
    const known = values.get(name) ?? tensors.value(name);
    values.set(name, known);
    return known;
  };
  return {
    space,
    width,
    async inputsOf(embedded, mixed) {
      const count = embedded.length / width;
      const graph = new TensorGraph(foldConstant);
      const parameter = (name: string): TensorNode => graph.parameter(name, valueOf(name), tensors.shape(name));
      const state = graph.variable('state', [count, width]);
      const attended = graph.variable('mixed', [count, mixed.length / count]);
      const output = secondInputs(graph, transformer, parameter, state, attended);
      const [data] = await evaluateWithProduct([output], { state: embedded, mixed }, product);
      return data!;
    },
  };
}
