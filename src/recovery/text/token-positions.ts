import { dot, norm } from '../vectors.js';
import type { Candidates } from './first-inputs.js';

/**
 * Which tokens stood where, from the gradients of two embeddings that are added and then normalised.
 *
 * A normalisation does not see the length of its input, so the gradient u of a sum x of embeddings is orthogonal to x less its mean.
 * The gradient of a token's row is the sum of u over its places, that of a position's row over its tokens: a row with one
 * pair left names the other half of the pair by orthogonality, and the pair is taken out of the other row.
 */

export interface Pair {
  readonly token: number;
  readonly position: number;
}

export interface TokenPositions {
  /** Pairs that the gradients name. */
  readonly settled: readonly Pair[];
  /** Pairs of what is left, of which some are of the batch. */
  readonly open: readonly Pair[];
}

export interface EmbeddingGradients {
  /** By token, of those that were looked up. */
  readonly tokens: ReadonlyMap<number, Float64Array>;
  readonly positions: ReadonlyMap<number, Float64Array>;
  /** Sum of the embeddings of a pair, before the norm. */
  sum(pair: Pair): Float64Array;
}

/** A cosine, times the root of the width, that is no chance. */
const ORTHOGONAL = 1e-5;
/** Of the sums taken away, this may be rounding. */
const ROUNDING = 1e-7;
const MARGIN = 30;
/** Rows that are rounding to this share name nothing. */
const TOO_ROUGH = 1e-4;
/** How much farther from orthogonal every other has to be. */
const CLEARLY = 5;

interface Row {
  readonly gradient: Float64Array;
  rounding: number;
  partners: Row[];
  readonly at: number;
  readonly isToken: boolean;
  isDone: boolean;
}

/** @param candidates lists by the places of `positions` */
export function tokenPositions(
  { byPosition }: Pick<Candidates, 'byPosition'>,
  positions: readonly number[],
  gradients: EmbeddingGradients,
): TokenPositions {
  const rowOf = (at: number, isToken: boolean): Row => {
    const gradient = (isToken ? gradients.tokens : gradients.positions).get(at)!.slice();
    return { gradient, rounding: ROUNDING * norm(gradient), partners: [], at, isToken, isDone: false };
  };
  const tokenRows = new Map([...gradients.tokens.keys()].map((token) => [token, rowOf(token, true)]));
  const rows = [...tokenRows.values()];
  byPosition.forEach((tokens, place) => {
    const row = rowOf(positions[place]!, false);
    row.partners = tokens.map((token) => tokenRows.get(token)!);
    row.partners.forEach(({ partners }) => partners.push(row));
    rows.push(row);
  });
  const settled: Pair[] = [];
  for (let hasChanged = true; hasChanged;) {
    hasChanged = false;
    for (const row of rows.filter(({ isDone }) => !isDone)) {
      const size = norm(row.gradient);
      if (size <= MARGIN * row.rounding) {
        row.isDone = true;
        hasChanged = true;
        continue;
      }
      const partner = onlyPartner(row, size, gradients);
      if (partner) {
        settled.push(pairOf(row, partner));
        row.gradient.forEach((value, at) => (partner.gradient[at]! -= value));
        partner.rounding += row.rounding;
        partner.partners = partner.partners.filter((own) => own !== row);
        row.isDone = true;
        hasChanged = true;
      }
    }
  }
  const open = rows
    .filter(({ isDone, isToken }) => !isDone && isToken)
    .flatMap((row) => row.partners.filter(({ isDone }) => !isDone).map((partner) => pairOf(row, partner)));
  return { settled, open };
}

/** The one whose sum the row's gradient is orthogonal to, where there is exactly one. */
function onlyPartner(row: Row, size: number, gradients: EmbeddingGradients): Row | undefined {
  const limit = Math.max(ORTHOGONAL, (MARGIN * row.rounding) / size);
  if (limit > TOO_ROUGH) {
    return undefined;
  }
  const cosines = row.partners
    .filter(({ isDone }) => !isDone)
    .map((partner) => ({ partner, cosine: cosineOf(row.gradient, size, gradients.sum(pairOf(row, partner))) }))
    .sort((one, other) => one.cosine - other.cosine);
  const [first, second] = cosines;
  return first && first.cosine < limit && !(second && second.cosine < CLEARLY * limit) ? first.partner : undefined;
}

function cosineOf(gradient: Float64Array, size: number, sum: Float64Array): number {
  const mean = sum.reduce((all, value) => all + value, 0) / sum.length;
  const centred = sum.map((value) => value - mean);
  return (Math.abs(dot(gradient, centred)) / (size * norm(centred))) * Math.sqrt(sum.length);
}

function pairOf(row: Row, partner: Row): Pair {
  const [token, position] = row.isToken ? [row, partner] : [partner, row];
  return { token: token.at, position: position.at };
}
