import type { Transformer } from '../../network/transformers/transformer.js';
import type { Candidates } from '../../recovery/text/first-inputs.js';
import type { PrefixNode } from '../../recovery/text/prefix-forest.js';
import { most } from '../../recovery/vectors.js';
import { sharesTable } from './looked-up.js';

/**
 * Texts that padding stands before. A mask hides it from all tokens, itself included: in PyTorch's
 * `scaled_dot_product_attention` such a token attends to nothing. The last one before a text is asked for the text's first
 * token all the same, so that its state has a part in the head's gradient.
 */

/** Tokens that padding may be are tried one after the other, at most so many. */
const MOST_TRIED = 4;

/**
 * Tokens that may be padding, likeliest first.
 *
 * @param tokens that were looked up
 * @param candidates of the first attention, which sees no padding
 */
export function paddingTokens(
  { head, paddings }: Transformer,
  tokens: readonly number[],
  { byPosition }: Pick<Candidates, 'byPosition'>,
): number[] {
  const named = paddings.slice(0, MOST_TRIED);
  if (sharesTable(head)) {
    return named;
  }
  const seen = new Set(byPosition.flat());
  const unseen = tokens.filter((token) => !seen.has(token));
  // Where single rows tell what was looked up, one of them is the padding, or padding is a token of the texts too.
  return unseen.length > 0 ? unseen.slice(0, MOST_TRIED) : named.filter((token) => seen.has(token));
}

/**
 * Which texts stand behind padding, and which of its tokens had a part in the loss. Where positions are told by embeddings, texts
 * that start later are padded, with the last token before the text (`placed`) or all of them (`filled`); else those that are
 * shorter than the longest, or all: there all tokens of padding have one state.
 */
export type PaddedTexts = 'placed' | 'filled' | 'shorter' | 'all';

/** What may be padded, likeliest first. */
export function paddedTexts({ head, embedding }: Transformer): readonly PaddedTexts[] {
  if (embedding.positions !== null) {
    return ['placed', 'filled'];
  }
  // A head of its own tells which first tokens padding was asked for.
  return sharesTable(head) ? ['shorter', 'all'] : ['all'];
}

/**
 * The forest with padding before texts.
 *
 * @returns undefined where none is padded
 */
export function behindPadding(
  nodes: readonly PrefixNode[],
  token: number,
  padded: PaddedTexts,
): PrefixNode[] | undefined {
  const starts = startsBehind(nodes, padded);
  const continued = new Set(nodes.map(({ parent }) => parent));
  // By noise alone a token fits at a place, and nothing follows it there.
  if (!starts.some((at) => continued.has(at))) {
    return undefined;
  }
  const before = (at: number): number => Math.max(nodes[at]!.position - 1, 0);
  const places =
    padded === 'filled'
      ? Array.from({ length: most(starts.map(before)) + 1 }, (_, position) => position)
      : [...new Set(starts.map(before))];
  const padding = places.map((position, at): PrefixNode => ({
    token,
    position,
    parent: padded === 'filled' ? at - 1 : -1,
    distance: 0,
    repeats: 0,
    isPadding: true,
  }));
  const isStart = new Set(starts);
  const moved = nodes.map((node, at): PrefixNode => ({
    ...node,
    parent: isStart.has(at) ? places.indexOf(before(at)) : node.parent < 0 ? -1 : node.parent + places.length,
  }));
  return [...padding, ...moved];
}

/** Whether a node is padding before a text, and not behind one. */
export function isBefore(nodes: readonly PrefixNode[], node: number): boolean {
  for (let at = node; at >= 0; at = nodes[at]!.parent) {
    if (!nodes[at]!.isPadding) {
      return false;
    }
  }
  return true;
}

function startsBehind(nodes: readonly PrefixNode[], padded: PaddedTexts): number[] {
  const starts = [...nodes.keys()].filter((at) => nodes[at]!.parent < 0);
  switch (padded) {
    case 'placed':
    case 'filled':
      return starts.filter((at) => nodes[at]!.position > 0);
    case 'shorter': {
      const lengths = shortestBelow(nodes);
      return starts.filter((at) => lengths[at]! < most(lengths));
    }
    case 'all':
      return starts;
  }
}

/** Of each node, how long the shortest text through it is. */
function shortestBelow(nodes: readonly PrefixNode[]): Int32Array {
  const shortest = new Int32Array(nodes.length);
  for (let at = nodes.length - 1; at >= 0; at--) {
    const { position, parent } = nodes[at]!;
    shortest[at] = shortest[at] === 0 ? position + 1 : shortest[at]!;
    if (parent >= 0) {
      shortest[parent] = shortest[parent] === 0 ? shortest[at]! : Math.min(shortest[parent]!, shortest[at]!);
    }
  }
  return shortest;
}
