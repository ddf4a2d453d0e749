import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Transformer } from '../../network/transformers/transformer.js';
import type { Pause } from '../../recovery/pause.js';
import { candidatesIn } from '../../recovery/text/first-inputs.js';
import { type InputSpace, inputSpaceOf } from '../../recovery/text/input-space.js';
import { type HeadRows, type NextToken, type NextTokens, nextTokensOf } from '../../recovery/text/next-tokens.js';
import { type PrefixNode, searchPrefixes } from '../../recovery/text/prefix-search.js';
import { most } from '../../recovery/vectors.js';
import { type Tensors, firstAttentionOf, firstInputsOf, stackedGradients } from './first-block.js';
import { Forward, type TokenTree } from './forward.js';
import { positionsOf, tokensOf } from './looked-up.js';
import { type Misfit, misfitOf } from './simulated.js';

/** Texts of a causal language model's batch. */

export interface FoundText {
  readonly tokens: readonly number[];
  /** How many sequences of the batch read so. */
  readonly times: number;
  /** The last token is one of these too, as far as is known. */
  readonly lastAlternatives: readonly number[];
  /** The last token was not told. */
  readonly isOpen: boolean;
}

export interface CausalTexts {
  readonly texts: readonly FoundText[];
  readonly inputs: InputSpace;
  readonly outputs: InputSpace;
  readonly candidates: { readonly count: number; readonly farthest: number; readonly nextNearest: number };
  readonly nodes: readonly PrefixNode[];
  readonly nextNearest: number;
  readonly misfit: Misfit | undefined;
}

const MOST_PREFIXES = 512;
const LONGEST = 4096;
/** Times that last tokens are corrected by the gradient that they leave. */
const MOST_ROUNDS = 4;
/** A relative difference that no wrong token leaves. */
const FITS = 1e-4;

/** @returns a sentence where nothing was found, or not all */
export async function findCausalTexts(
  transformer: Transformer,
  tensors: Tensors,
  error: number,
  product: ProductKernel,
  progress: (message: string, share: number) => void,
  pause: Pause,
): Promise<CausalTexts | string> {
  const [first] = transformer.blocks;
  const given = firstInputsOf(transformer, tensors);
  if (!first || !given) {
    return 'The model has no block with a norm before its attention.';
  }
  progress('Finding the space of the first attention', 0.05);
  const stacked = stackedGradients([first.query, first.key, first.value], tensors);
  const inputs = await inputSpaceOf(stacked, transformer.width, error, product, pause);
  if (!inputs) {
    return `The gradient of the first attention has full rank: a batch of ${transformer.width} tokens and more, or noise, hides them.`;
  }
  const attention = firstAttentionOf(transformer, tensors);
  const outputs = await inputSpaceOf(
    stackedGradients([first.output], tensors),
    attention.heads * attention.headWidth,
    error,
    product,
    pause,
  );
  if (!outputs) {
    return `The gradient of the first attention's output has full rank: a batch of ${transformer.width} tokens and more, or noise, hides them.`;
  }
  progress('Trying every token', 0.15);
  const tokens = tokensOf(transformer, tensors);
  const positions = positionsOf(transformer, tensors);
  const candidates = await candidatesIn(given, inputs, tokens, positions, product, pause);
  if (candidates.count === 0) {
    return 'No token lies in the space of the first attention: dropout was on, or the gradient is of another checkpoint.';
  }
  progress('Joining tokens to texts', 0.4);
  const { nodes, nextNearest, crowded } = await searchPrefixes(
    given,
    attention,
    outputs,
    candidates,
    { most: MOST_PREFIXES, length: LONGEST, window: transformer.window },
    product,
    pause,
  );
  if (nodes.length === 0 || crowded) {
    return crowded
      ? 'More beginnings of texts fit than can be followed: single tokens are told, their order is not.'
      : 'Tokens were found, and no text that begins with them fits the attention.';
  }
  const found = { inputs, outputs, candidates, nodes, nextNearest };
  const { head } = transformer;
  if (head?.kind !== 'language-model') {
    return { ...found, texts: joined(nodes, [], [], 0), misfit: undefined };
  }
  progress('Reading the last tokens', 0.7);
  const tree: TokenTree = {
    tokens: Int32Array.from(nodes, ({ token }) => token),
    positions: Int32Array.from(nodes, ({ position }) => position),
    parents: Int32Array.from(nodes, ({ parent }) => parent),
  };
  const forward = new Forward(transformer, tensors, tree, null, product);
  const hidden = await forward.states();
  const rows = headRows(head.weight, head.bias, transformer, tensors);
  const isTied = head.weight === transformer.embedding.tokens;
  const lookedUp = new Set(candidates.byPosition.flat());
  const next = await nextTokensOf(hidden, rows, (token) => isTied && lookedUp.has(token), product, pause);
  const children = nodes.flatMap(({ parent, token }) => (parent < 0 ? [] : [{ state: parent, token }]));
  const sure = [...next.found, ...impliedBy(children, next.found, next.weights, next.unit, nodes)];
  let last = settle(sure, next.supposed, next.weights, next.unit);
  const compare = (): Promise<Misfit> => {
    progress('Computing the gradient of the texts', 0.85);
    return misfitOf(transformer, tensors, forward, tree, hidden, rows, next, [...sure, ...last], product, pause);
  };
  let misfit = await compare();
  for (let round = 0; round < MOST_ROUNDS && misfit.error > FITS && last.length > 0; round++) {
    const better = await corrected(last, misfit, next, product);
    if (better.every(({ token }, at) => token === last[at]!.token)) {
      break;
    }
    last = better;
    misfit = await compare();
  }
  return { ...found, texts: joined(nodes, [...sure, ...last], next.supposed, next.unit), misfit };
}

function headRows(weight: string, bias: string | null, { width, vocabulary }: Transformer, tensors: Tensors): HeadRows {
  return {
    vocabulary,
    width,
    bias: bias === null ? null : tensors.value(bias),
    weight: (start, end) => tensors.rows(weight, start, end),
    gradient: (start, end) => tensors.rows(weight, start, end, 'gradient'),
  };
}

/** Tokens that follow in the texts, where the head's own rows do not tell: what weighs a state, less what is told. */
function impliedBy(
  children: readonly { readonly state: number; readonly token: number }[],
  found: readonly NextToken[],
  weights: Float64Array,
  unit: number,
  nodes: readonly PrefixNode[],
): NextToken[] {
  const told = new Set(found.map(({ state, token }) => `${state} ${token}`));
  const missing = children.filter(({ state, token }) => weights[state]! > 0 && !told.has(`${state} ${token}`));
  const heavy = new Map(
    nodes.flatMap(({ parent, token }, at) => (parent < 0 ? [] : [[`${parent} ${token}`, at] as const])),
  );
  // A shared beginning is shared by as many as its continuations weigh.
  return missing.map(({ state, token }) => ({
    state,
    token,
    share: Math.max(weights[heavy.get(`${state} ${token}`)!] ?? 0, unit),
  }));
}

/** For states whose weight is not told yet: the likeliest of the tokens that may be meant. */
function settle(
  sure: readonly NextToken[],
  supposed: readonly NextToken[],
  weights: Float64Array,
  unit: number,
): NextToken[] {
  const left = weights.slice();
  for (const { state, share } of sure) {
    left[state]! -= share;
  }
  const chosen: NextToken[] = [];
  const known = new Set(sure.map(({ state, token }) => `${state} ${token}`));
  for (const own of supposed) {
    if (left[own.state]! > 0.5 * unit && !known.has(`${own.state} ${own.token}`)) {
      chosen.push({ ...own, share: left[own.state]! });
      left[own.state] = 0;
    }
  }
  return chosen;
}

/** Last tokens anew, from what the simulated gradient leaves of the rows that hold both the head's and the look-ups' part. */
async function corrected(
  last: readonly NextToken[],
  { rows: { tokens, data } }: Misfit,
  { inverse, weights }: NextTokens,
  product: ProductKernel,
): Promise<NextToken[]> {
  const count = weights.length;
  const y = await product(data, inverse, tokens.length, count, data.length / tokens.length);
  return last.map((own) => {
    const shares = tokens.map((token, at) => (token === own.token ? own.share : 0) - y[at * count + own.state]!);
    return { ...own, token: tokens[shares.indexOf(most(shares))]! };
  });
}

function joined(
  nodes: readonly PrefixNode[],
  targets: readonly NextToken[],
  supposed: readonly NextToken[],
  unit: number,
): FoundText[] {
  const followed = new Set(nodes.map(({ parent, token }) => `${parent} ${token}`));
  const parents = new Set(nodes.map(({ parent }) => parent));
  const prefix = (node: number): number[] => {
    const tokens: number[] = [];
    for (let at = node; at >= 0; at = nodes[at]!.parent) {
      tokens.unshift(nodes[at]!.token);
    }
    return tokens;
  };
  const texts: FoundText[] = targets.flatMap(({ state, token, share }) =>
    followed.has(`${state} ${token}`)
      ? []
      : [
          {
            tokens: [...prefix(state), token],
            times: Math.max(1, Math.round(share / unit)),
            lastAlternatives: supposed.flatMap((own) =>
              own.state === state && own.token !== token ? [own.token] : [],
            ),
            isOpen: false,
          },
        ],
  );
  const ended = new Set(targets.map(({ state }) => state));
  const open = nodes.flatMap((_, at): FoundText[] =>
    parents.has(at) || ended.has(at) ? [] : [{ tokens: prefix(at), times: 1, lastAlternatives: [], isOpen: true }],
  );
  return [...texts, ...open];
}
