import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Transformer } from '../../network/transformers/transformer.js';
import type { Pause } from '../../recovery/pause.js';
import { type Candidates, type FirstInputs, candidatesIn, inputsAt } from '../../recovery/text/first-inputs.js';
import { HIDDEN_DEVIATIONS, type InputSpace, inputSpaceOf, inputSpaceWithin } from '../../recovery/text/input-space.js';
import { areIndependent } from '../../recovery/text/independent-pairs.js';
import { PairOutputs } from '../../recovery/text/pair-outputs.js';
import { type FoundSequence, searchSequences } from '../../recovery/text/sequence-search.js';
import { type Pair, type TokenPositions, tokenPositions } from '../../recovery/text/token-positions.js';
import { Work } from '../../recovery/text/work.js';
import { joined } from '../../recovery/vectors.js';
import { type Difference, mayBeNoise, noiseOf } from './comparison.js';
import { type Tensors, firstAttentionOf, firstInputsOf, stackedGradients } from './first-block.js';
import { lookUpsOf, sharesTable } from './looked-up.js';
import { NO_LOSS, NO_TOKEN, fewOf, hiddenBy } from './refusals.js';
import { encoderLabels } from './encoder-labels.js';

/** Texts of a batch of a model whose tokens see both directions. */

export interface EncoderText {
  readonly tokens: readonly number[];
  /** The class that it was trained on; undefined where the model classifies no sequences, or not all of the batch is known. */
  readonly label: number | undefined;
  /** By token: its class, or the token that a masked language model was asked for; undefined where none shows. Empty of others. */
  readonly tokenLabels: readonly (number | undefined)[];
  /** The largest relative distance of its attention outputs to their space. */
  readonly distance: number;
  /** Outputs of which the gradient holds so little that noise hides whether they fit. */
  readonly hidden: number;
  /** Positions where other tokens fit as well, and which; past the last: how it may go on. */
  readonly alternatives: readonly { readonly position: number; readonly tokens: readonly number[] }[];
  readonly mayEndEarlier: boolean;
}

export interface EncoderTexts {
  readonly texts: readonly EncoderText[];
  readonly inputs: InputSpace;
  readonly outputs: InputSpace;
  readonly candidates: { readonly count: number; readonly farthest: number; readonly nextNearest: number };
  /** Tokens whose positions are known and that are in none of the texts: what is left of the batch. */
  readonly unplaced: readonly Pair[];
  /** Pairs of which some are of the batch. */
  readonly possible: readonly Pair[];
  /** The smallest distance of a sequence that differs in one token from a found one and does not fit. */
  readonly nextNearest: number;
  /** Of the texts' own gradient, with their labels, from the captured one; undefined without labels. */
  readonly misfit: Difference | undefined;
  /** Whether a wrong label would show in it. */
  readonly areLabelsClear: boolean;
  /** Multiplications after which the search was ended; undefined where it came to its end. */
  readonly endedAfter: number | undefined;
}

/** Tokens of a batch per direction of its inputs: those of repeated tokens depend on each other. */
const MOST_PER_DIRECTION = 2;
/** Of the width: where fewer embeddings than this were looked up, their number bounds the rank. */
const MOST_SUMS = 0.8;
/** More pairs are not searched for sequences. */
export const MOST_PAIRS = 1200;
/** More candidates are not told apart. */
const MOST_CANDIDATES = 40_000;
/** A relative difference of gradients that no missing text leaves, where their noise is not more. */
const FITS = 1e-4;
/** The same where it is: so many times the noise, as far as that says anything. */
const NOISE_FACTOR = 3;
const MOST_FITS = 1e-3;
/** Multiplications by width: about a minute at 256. */
const MOST_WORK = 1.2e8;
/** Of that, until the gradient of what was found is computed. */
const SEARCH_SHARE = 0.7;
/** A text whose gradient differs by so much more is not that of the batch. */
const CLEARLY_WORSE = 10;
/** A variance so far above the norm's epsilon that it may be left out. */
const EPSILON_SHARE = 1e-6;

/** Whether the gradient of the texts is the captured one, and nothing else fits as well. */
export function isConfirmed(transformer: Transformer, found: EncoderTexts): boolean {
  const { texts, unplaced, misfit, areLabelsClear, endedAfter, inputs, outputs } = found;
  const isSingle = texts.every(({ alternatives, mayEndEarlier }) => alternatives.length === 0 && !mayEndEarlier);
  const areTold = areLabelsClear && unplaced.length === 0 && isSingle && endedAfter === undefined;
  return misfit !== undefined && fits(misfit, noiseOf(transformer, inputs, outputs)) && areTold;
}

function fits(misfit: Difference, noise: number): boolean {
  return misfit.error < Math.max(FITS, Math.min(NOISE_FACTOR * noise, MOST_FITS)) && mayBeNoise(misfit, noise);
}

/**
 * @param most multiplications, after which the search is ended with what it has
 * @returns a sentence where nothing was found
 */
export async function findEncoderTexts(
  transformer: Transformer,
  tensors: Tensors,
  error: number,
  native: ProductKernel,
  progress: (message: string, share: number) => void,
  pause: Pause,
  most = MOST_WORK * transformer.width,
): Promise<EncoderTexts | string> {
  const work = new Work(most);
  const product = work.counting(native);
  const [first] = transformer.blocks;
  const given = firstInputsOf(transformer, tensors);
  if (!first || !given || transformer.embedding.positions === null) {
    return 'The model has no block behind a norm of tokens and positions.';
  }
  progress('Finding the space of the first attention', 0.05);
  const stacked = stackedGradients([first.query, first.key, first.value], tensors);
  if (stacked.every((value) => value === 0)) {
    return NO_LOSS;
  }
  const { tokens: lookedUp, positions } = lookUpsOf(transformer, tensors);
  // Sums of two embeddings have no more directions than both together.
  const directions = lookedUp.length + positions.length;
  const inputs =
    directions < MOST_SUMS * transformer.width
      ? await inputSpaceWithin(stacked, transformer.width, { least: lookedUp.length, most: directions }, product, pause)
      : await inputSpaceOf(stacked, transformer.width, error, product, pause);
  if (!inputs) {
    return hiddenBy('attention', transformer.width);
  }
  progress('Trying every token', 0.1);
  const candidates = await candidatesIn(given, inputs, lookedUp, positions, product, pause, null, HIDDEN_DEVIATIONS);
  if (candidates.count === 0) {
    return NO_TOKEN;
  }
  if (candidates.count > MOST_CANDIDATES) {
    return 'More tokens fit at more positions than can be told apart.';
  }
  const { settled, open } = await settledBySpan(
    placed(transformer, tensors, given, candidates, positions),
    given,
    product,
    pause,
  );
  const pairs = [...settled, ...open].sort((one, other) => one.position - other.position);
  const attention = firstAttentionOf(transformer, tensors);
  const outputs = await inputSpaceWithin(
    stackedGradients([first.output], tensors),
    attention.heads * attention.headWidth,
    {
      least: Math.max(inputs.rank, leastRank(settled, positions)),
      most: Math.min(pairs.length + positions.length, MOST_PER_DIRECTION * inputs.rank),
    },
    product,
    pause,
  );
  if (!outputs) {
    return candidates.count < lookedUp.length && lookedUp.length < transformer.vocabulary
      ? fewOf(candidates.count, lookedUp.length)
      : hiddenBy("attention's output", attention.heads * attention.headWidth);
  }
  const found = { inputs, outputs, candidates };
  if (pairs.length > MOST_PAIRS) {
    const none = { texts: [], nextNearest: 1, misfit: undefined, areLabelsClear: false, endedAfter: undefined };
    return { ...found, ...none, unplaced: settled, possible: open };
  }
  progress('Joining tokens to texts', 0.2);
  const search = work.upTo(SEARCH_SHARE);
  const searching = search.counting(native);
  const vectors = await PairOutputs.of(attention, outputs, inputsOf(given, pairs), searching, search, pause);
  const known = new Set(settled);
  const { sequences, nextNearest, isEnded } = await searchSequences(
    pairs,
    (pair) => known.has(pairs[pair]!),
    inputs.rank,
    vectors,
    searching,
    (count, supposed) => {
      progress(`Joining tokens to texts: ${count} of ${supposed} supposed`, 0.2 + 0.6 * (1 - 1 / (1 + count)));
    },
    pause,
  );
  const covered = new Set(sequences.flatMap(({ members }) => members.map((member) => pairs[member]!)));
  const unplaced = settled.filter((pair) => !covered.has(pair));
  const tokens = sequences.map(({ members }) => members.map((member) => pairs[member]!.token));
  progress('Computing the gradient of the texts', 0.85);
  const isWhole = unplaced.length === 0 && sequences.length > 0;
  const labels = isWhole ? await encoderLabels(transformer, tensors, tokens, product, pause) : undefined;
  const misfitOf = async (at: number, rival: readonly number[]): Promise<number | undefined> => {
    const own = tokens.map((known, index) => (index === at ? rival.map((member) => pairs[member]!.token) : known));
    return (await encoderLabels(transformer, tensors, own, product, pause))?.misfit.error;
  };
  const areOne = labels !== undefined && fits(labels.misfit, noiseOf(transformer, inputs, outputs));
  const { told, isWhole: areCompared } = areOne
    ? await withoutRefuted(sequences, labels.misfit.error, misfitOf, work, pause)
    : { told: sequences, isWhole: true };
  return {
    ...found,
    texts: told.map((sequence, at) => ({
      ...textOf(sequence, pairs),
      label: labels?.classes[at],
      tokenLabels: labels?.ofTokens[at] ?? [],
    })),
    unplaced,
    possible: areOne ? [] : open.filter((pair) => !covered.has(pair)),
    nextNearest,
    misfit: labels?.misfit,
    areLabelsClear: labels?.areClear ?? false,
    endedAfter: isEnded || !areCompared ? most : undefined,
  };
}

/** Sequences whose rivals are those alone that leave hardly more of the gradient. */
async function withoutRefuted(
  sequences: readonly FoundSequence[],
  error: number,
  misfitOf: (at: number, rival: readonly number[]) => Promise<number | undefined>,
  work: Work,
  pause: Pause,
): Promise<{ readonly told: readonly FoundSequence[]; readonly isWhole: boolean }> {
  const told: FoundSequence[] = [];
  let isWhole = true;
  for (const [at, sequence] of sequences.entries()) {
    const rivals: (readonly number[])[] = [];
    for (const rival of sequence.rivals) {
      await pause();
      isWhole &&= !work.isSpent;
      const other = isWhole ? await misfitOf(at, rival) : undefined;
      if (other === undefined || other < CLEARLY_WORSE * error) {
        rivals.push(rival);
      }
    }
    told.push({ ...sequence, rivals });
  }
  return { told, isWhole };
}

/** Tokens told to positions by the embeddings' gradients, where these hold nothing else. */
function placed(
  { embedding, head }: Transformer,
  tensors: Tensors,
  first: FirstInputs,
  candidates: Candidates,
  positions: readonly number[],
): TokenPositions {
  const open = candidates.byPosition.flatMap((tokens, place) =>
    tokens.map((token) => ({ token, position: positions[place]! })),
  );
  const table = embedding.positions!;
  const sum = ({ token, position }: Pair): Float64Array => {
    const row = first.rowsOf([token]);
    const added = first.positionRow(position)!;
    return row.map((value, at) => value + added[at]!);
  };
  if (
    sharesTable(head) ||
    !tensors.hasGradient(embedding.tokens) ||
    !tensors.hasGradient(table) ||
    open.some((pair) => first.norm.epsilon > EPSILON_SHARE * variance(sum(pair)))
  ) {
    return { settled: [], open };
  }
  const row = (name: string, at: number): Float64Array => tensors.rows(name, at, at + 1, 'gradient');
  const tokens = new Set(open.map(({ token }) => token));
  return tokenPositions(candidates, positions, {
    tokens: new Map([...tokens].map((token) => [token, row(embedding.tokens, token)])),
    positions: new Map(positions.map((position) => [position, row(table, position + embedding.positionOffset)])),
    sum,
  });
}

/** Pairs of which some are of the batch, less those that are certainly of it because no others make them up. */
async function settledBySpan(
  { settled, open }: TokenPositions,
  first: FirstInputs,
  product: ProductKernel,
  pause: Pause,
): Promise<TokenPositions> {
  const pairs = [...settled, ...open];
  if (open.length === 0 || pairs.length > MOST_PAIRS) {
    return { settled, open };
  }
  const isSure = (await areIndependent(inputsOf(first, pairs), first.width, product, pause)).slice(settled.length);
  return { settled: [...settled, ...open.filter((_, at) => isSure[at])], open: open.filter((_, at) => !isSure[at]) };
}

function variance(values: Float64Array): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
}

/** Outputs that are certainly different, no fewer than inputs: one for each pair, and one at each position where none is settled. */
function leastRank(settled: readonly Pair[], positions: readonly number[]): number {
  const known = new Set(settled.map(({ position }) => position));
  return settled.length + positions.filter((position) => !known.has(position)).length;
}

function inputsOf(first: FirstInputs, pairs: readonly Pair[]): Float64Array {
  return joined(pairs.map(({ token, position }) => inputsAt(first, [token], position)));
}

function textOf(
  { members, distance, hidden, rivals }: FoundSequence,
  pairs: readonly Pair[],
): Omit<EncoderText, 'label' | 'tokenLabels'> {
  const byPosition = new Map<number, number[]>();
  for (const rival of rivals) {
    const position = rival.findIndex((member, at) => member !== members[at]);
    if (position >= 0) {
      byPosition.set(position, [...(byPosition.get(position) ?? []), pairs[rival[position]!]!.token]);
    }
  }
  return {
    tokens: members.map((member) => pairs[member]!.token),
    distance,
    hidden,
    alternatives: [...byPosition].map(([position, tokens]) => ({ position, tokens })),
    mayEndEarlier: rivals.some(({ length }) => length < members.length),
  };
}
