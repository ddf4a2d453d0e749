import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Head, Transformer } from '../../network/transformers/transformer.js';
import type { Pause } from '../../recovery/pause.js';
import { distinctRows, distinctStates, perPrefix } from '../../recovery/text/equal-states.js';
import { type HeadRows, type NextToken, type NextTokens, nextTokensOf } from '../../recovery/text/next-tokens.js';
import { type PrefixNode, tokensTo } from '../../recovery/text/prefix-forest.js';
import { mayBeNoise } from './comparison.js';
import type { Tensors } from './first-block.js';
import { Forward, type TokenTree, treeOfPrefixes } from './forward.js';
import { correctedByNorm, correctedByRows } from './last-tokens.js';
import { behindPadding, isBefore, paddedTexts } from './left-padding.js';
import { type Misfit, misfitOf } from './simulated.js';

/** Where texts end and with which token, from the head; and whether their own gradient is the captured one. */

export interface FoundText {
  readonly tokens: readonly number[];
  /** How many sequences of the batch read so, by their weight in the loss; 1 where weights are no counts. */
  readonly times: number;
  /** What the last token may be too, as far as is known. */
  readonly lastAlternatives: readonly number[];
  /** The last token was not told. */
  readonly isOpen: boolean;
  /** Tokens of padding behind these, and which. */
  readonly padding: { readonly token: number; readonly count: number } | null;
  /** The token of the padding that the text starts behind. */
  readonly behind: number | null;
}

export interface ReadTexts {
  readonly nodes: readonly PrefixNode[];
  readonly texts: readonly FoundText[];
  readonly misfit: Misfit;
}

/** Times that last tokens are corrected by the gradient that they leave. */
const MOST_ROUNDS = 4;
/** Less of a token's weight than this is no token. */
const LEAST_LEFT = 0.5;
/** One wrong token would leave several times more. */
const CLEARLY_LESS = 0.25;

/** Whether the gradient of the texts differs from the captured one by clearly less than one wrong token would leave. */
export function isConfirmed({ error, resolution }: Misfit): boolean {
  // Where next tokens are all but certain, one wrong token leaves more than the whole gradient.
  return error <= CLEARLY_LESS * Math.min(resolution, 1);
}

/** Texts without what a head tells. @param isOpen whether one more token follows, which only the head would tell */
export function readTexts(nodes: readonly PrefixNode[], isOpen: boolean): FoundText[] {
  const none = { found: [], supposed: [], weights: new Float64Array(nodes.length).fill(1), unit: 1 };
  return joined(nodes, [], none).map((text) => ({ ...text, isOpen }));
}

interface Read {
  readonly forward: Forward;
  readonly hidden: Float64Array;
  readonly next: NextTokens;
}

export interface Targets {
  readonly targets: readonly NextToken[];
  readonly next: NextTokens;
  readonly misfit: Misfit;
}

type LanguageHead = Extract<Head, { kind: 'language-model' }>;

export class TargetSearch {
  private readonly rows: HeadRows;
  private readonly isTied: boolean;

  constructor(
    private readonly transformer: Transformer,
    private readonly tensors: Tensors,
    head: LanguageHead,
    private readonly product: ProductKernel,
    private readonly progress: (message: string, share: number) => void,
    private readonly pause: Pause,
    /** Relative error of the gradient's numbers: where more is left, weights are tried as counts. */
    private readonly noise = Infinity,
  ) {
    this.rows = headRows(head, transformer, tensors);
    this.isTied = head.tied;
  }

  /** @param paddings tokens that texts may be padded with before their start */
  async run(nodes: readonly PrefixNode[], paddings: readonly number[]): Promise<ReadTexts> {
    let best = await this.readAs(nodes);
    const ways = paddings.flatMap((token) => paddedTexts(this.transformer).map((padded) => ({ token, padded })));
    for (const { token, padded } of ways) {
      if (isConfirmed(best.misfit)) {
        break;
      }
      const forest = behindPadding(nodes, token, padded);
      const read = forest && forest.length < this.transformer.width ? await this.readAs(forest) : undefined;
      best = read && read.misfit.error < best.misfit.error ? read : best;
    }
    return best;
  }

  private async readAs(nodes: readonly PrefixNode[]): Promise<ReadTexts> {
    const first = await this.read(treeOfPrefixes(nodes), nodes);
    const kept = this.isTied ? nodes : withTargets(nodes, first.next);
    const read = kept.length < nodes.length && kept.length > 0 ? await this.read(treeOfPrefixes(kept), kept) : first;
    const own = kept.length > 0 ? kept : nodes;
    const { targets, next, misfit } = await this.best(own, read);
    return { nodes: own, texts: joined(own, targets, next), misfit };
  }

  /** What was asked for at each state of tokens that see both directions, so that none follows from another. */
  async ofStates(tree: TokenTree): Promise<Targets> {
    return this.best([], await this.read(tree));
  }

  private async best(nodes: readonly PrefixNode[], read: Read): Promise<Targets> {
    const found = await this.confirm(nodes, read);
    const isDone = isConfirmed(found.misfit) && mayBeNoise(found.misfit, this.noise);
    const whole = isDone ? undefined : wholeTokens(read.next);
    const rounded = whole && (await this.confirm(nodes, { ...read, next: whole }));
    return rounded && rounded.misfit.error < found.misfit.error ? rounded : found;
  }

  /** @param nodes the tree's, where tokens follow from each other */
  private async read(tree: TokenTree, nodes: readonly PrefixNode[] = []): Promise<Read> {
    this.progress('Reading the last tokens', 0.7);
    const forward = new Forward(this.transformer, this.tensors, tree, null, this.product);
    const hidden = await forward.states();
    const lookedUp = new Set(tree.tokens);
    const isMixed = (token: number): boolean => this.isTied && lookedUp.has(token);
    const read = (states: Float64Array): Promise<NextTokens> =>
      nextTokensOf(states, this.rows, isMixed, this.product, this.pause);
    if (nodes.length === 0) {
      return { forward, hidden, next: await read(hidden) };
    }
    const { width } = this.transformer;
    const states = distinctStates(nodes);
    const next = await read(distinctRows(hidden, width, states));
    return { forward, hidden, next: perPrefix(next, nodes, width, states.stateOf) };
  }

  private async confirm(nodes: readonly PrefixNode[], { forward, hidden, next }: Read): Promise<Targets> {
    const sure = [...next.found, ...(this.isTied ? impliedBy(nodes, next) : [])];
    let last = settle(sure, next.supposed, next.weights, next.unit);
    const compare = (): Promise<Misfit> => {
      this.progress('Computing the gradient of the texts', 0.85);
      return misfitOf(
        this.transformer,
        this.tensors,
        forward,
        hidden,
        this.rows,
        next,
        [...sure, ...last],
        this.product,
        this.pause,
      );
    };
    let misfit = await compare();
    for (let round = 0; round < MOST_ROUNDS && !isConfirmed(misfit) && last.length > 0; round++) {
      const better =
        (await correctedByNorm(last, misfit, this.transformer, this.tensors, hidden, this.rows, this.pause)) ??
        (await correctedByRows(last, misfit, next, this.product));
      if (better.every(({ token }, at) => token === last[at]!.token)) {
        break;
      }
      last = better;
      misfit = await compare();
    }
    return { targets: [...sure, ...last], next, misfit };
  }
}

/** How much of a state's weight its targets may leave: smoothing takes some, and noise. */
const MOST_LEFT = 0.4;

/** Nodes whose loss, or that of a continuation, is made up of targets; nothing of others would be in the gradient. */
function withTargets(nodes: readonly PrefixNode[], { found, weights, unit }: NextTokens): PrefixNode[] {
  const left = weights.slice();
  for (const { state, share } of found) {
    left[state]! -= share;
  }
  const isKept = Array.from(
    left,
    (own, at) => weights[at]! > 0 && Math.abs(own) < MOST_LEFT * Math.max(unit, weights[at]!),
  );
  for (let at = nodes.length - 1; at >= 0; at--) {
    const { parent } = nodes[at]!;
    if (isKept[at] && parent >= 0) {
      isKept[parent] = true;
    }
  }
  const places = new Map<number, number>([[-1, -1]]);
  return nodes.flatMap((node, at): PrefixNode[] => {
    if (!isKept[at]) {
      return [];
    }
    places.set(at, places.size - 1);
    return [{ ...node, parent: places.get(node.parent)! }];
  });
}

/** Further from a whole number of tokens than this, a share is no count. */
const NEARLY_WHOLE = 0.3;

/** Weights and shares as whole numbers of tokens, as hard labels have them; undefined where some are far from it. */
function wholeTokens(next: NextTokens): NextTokens | undefined {
  const { weights, found, unit } = next;
  const single = found
    .map(({ share }) => share)
    .filter((share) => share < 1.5 * unit)
    .sort((one, other) => one - other);
  const one = single[Math.floor(single.length / 2)] ?? unit;
  const isWhole = (value: number): boolean => Math.abs(value / one - Math.round(value / one)) < NEARLY_WHOLE;
  const whole = (value: number): number => Math.round(value / one) * one;
  return weights.every(isWhole) && found.every(({ share }) => isWhole(share) && share > one / 2)
    ? {
        ...next,
        unit: one,
        weights: weights.map(whole),
        found: found.map((own) => ({ ...own, share: whole(own.share) })),
      }
    : undefined;
}

function headRows({ weight, bias }: LanguageHead, { width, vocabulary }: Transformer, tensors: Tensors): HeadRows {
  return {
    vocabulary,
    width,
    bias: bias === null ? null : tensors.value(bias),
    weight: (start, end) => tensors.rows(weight, start, end),
    gradient: (start, end) => tensors.rows(weight, start, end, 'gradient'),
  };
}

/** Tokens that follow in the texts, for rows that hold look-ups as well: as much of a state's weight as nothing else takes. */
function impliedBy(nodes: readonly PrefixNode[], { found, weights, unit }: NextTokens): NextToken[] {
  const left = weights.slice();
  const told = new Set<string>();
  for (const { state, token, share } of found) {
    left[state]! -= share;
    told.add(`${state} ${token}`);
  }
  const implied = (state: number, token: number, atLeast: number): NextToken[] => {
    if (state < 0 || told.has(`${state} ${token}`) || left[state]! < LEAST_LEFT * unit) {
      return [];
    }
    // A shared beginning weighs as much as its continuations.
    const share = Math.min(Math.max(atLeast, unit), left[state]!);
    left[state]! -= share;
    return [{ state, token, share }];
  };
  return [
    ...nodes.flatMap(({ parent, token }, at) => implied(parent, token, weights[at]!)),
    // Nothing but padding follows padding.
    ...nodes.flatMap(({ isPadding, token }, at) => (isPadding ? implied(at, token, weights[at]!) : [])),
  ];
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
  for (const own of supposed) {
    if (left[own.state]! > LEAST_LEFT * unit) {
      chosen.push({ ...own, share: left[own.state]! });
      left[own.state] = 0;
    }
  }
  return chosen;
}

/** Further from a whole multiple of the least than this, a weight is no count: means over sequences weigh by length. */
const COUNTED = 0.1;

/** Targets that end texts, with the weight that ends there: all of it, or what is more than what goes on with the target. */
function endsOf(
  nodes: readonly PrefixNode[],
  targets: readonly NextToken[],
  weights: Float64Array,
  unit: number,
): NextToken[] {
  const onward = new Float64Array(nodes.length);
  const nodeOf = new Map<string, number>();
  for (let at = nodes.length - 1; at >= 0; at--) {
    const { parent, token } = nodes[at]!;
    // Tokens without a loss pass on the weight of what follows.
    onward[at] = Math.max(onward[at]!, weights[at]!);
    nodeOf.set(`${parent} ${token}`, at);
    if (parent >= 0) {
      onward[parent]! += onward[at]!;
    }
  }
  const byPlace = new Map<string, NextToken>();
  for (const own of targets) {
    const place = `${own.state} ${own.token}`;
    byPlace.set(place, { ...own, share: own.share + (byPlace.get(place)?.share ?? 0) });
  }
  const ends = [...byPlace.values()].map((own) => {
    const node = nodeOf.get(`${own.state} ${own.token}`);
    if (isBefore(nodes, own.state) && (node !== undefined || own.token === nodes[own.state]!.token)) {
      // No text ends before it begins; some begin without padding.
      return { ...own, isLast: false, share: 0 };
    }
    return { ...own, isLast: node === undefined, share: own.share - (node === undefined ? 0 : onward[node]!) };
  });
  // A token that weighs more than the one before it is weighed by itself, and what weighs less ends no text.
  const areTextsWeighed = ends.every(({ share }) => share > -LEAST_LEFT * unit);
  return ends.filter(({ isLast, share }) => isLast || (areTextsWeighed && share > LEAST_LEFT * unit));
}

function joined(
  nodes: readonly PrefixNode[],
  targets: readonly NextToken[],
  { supposed, weights, unit }: Pick<NextTokens, 'supposed' | 'weights' | 'unit'>,
): FoundText[] {
  const parents = new Set(nodes.map(({ parent }) => parent));
  const told = new Set(targets.map(({ state, token }) => `${state} ${token}`));
  const isCounted = weights.every((own) => Math.abs(own / unit - Math.round(own / unit)) < COUNTED);
  const texts = endsOf(nodes, targets, weights, unit).map(({ state, token, share }): FoundText => ({
    ...withoutPadding([...tokensTo(nodes, state), token], nodes, state, told),
    times: isCounted ? Math.max(1, Math.round(share / unit)) : 1,
    lastAlternatives: supposed.flatMap((own) => (own.state === state && own.token !== token ? [own.token] : [])),
    isOpen: false,
  }));
  const ended = new Set(targets.map(({ state }) => state));
  const open = nodes.flatMap((_, at): FoundText[] =>
    // Nothing of an end without a part in the loss would be in the gradient.
    parents.has(at) || ended.has(at) || weights[at] === 0
      ? []
      : [{ ...withoutPadding(tokensTo(nodes, at), nodes, at, told), times: 1, lastAlternatives: [], isOpen: true }],
  );
  return [...texts, ...open];
}

/**
 * @param last the last of the text's tokens that is a node; one more may follow, which is padding too then
 * @param told states and what they were asked for
 */
function withoutPadding(
  tokens: readonly number[],
  nodes: readonly PrefixNode[],
  last: number,
  told: ReadonlySet<string>,
): Pick<FoundText, 'tokens' | 'padding' | 'behind'> {
  const path: number[] = [];
  for (let at = last; at >= 0; at = nodes[at]!.parent) {
    path.unshift(at);
  }
  const start = path.findIndex((at) => !nodes[at]!.isPadding);
  const before = start < 0 ? path.length : start;
  const own = tokens.slice(before);
  const padded = path[before - 1];
  const behind = padded !== undefined && told.has(`${padded} ${own[0]}`) ? nodes[padded]!.token : null;
  let end = last;
  while (end >= 0 && nodes[end]!.isPadding) {
    end = nodes[end]!.parent;
  }
  if (end === last || end < 0) {
    return { tokens: own, padding: null, behind };
  }
  const { length } = tokensTo(nodes, end);
  const { token } = nodes[last]!;
  const count = tokens.length - length;
  return { tokens: own.slice(0, own.length - count), padding: { token, count }, behind };
}
