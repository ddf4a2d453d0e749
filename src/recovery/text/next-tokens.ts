import type { ProductKernel } from '../../graph/product-kernel.js';
import { factorise, solveLower, solveUpper } from '../cholesky.js';
import type { Pause } from '../pause.js';
import { most } from '../vectors.js';

/** What a language model's head was asked at every hidden state: the weight of each in the loss, and its next tokens. */

/** A head's rows, read in pieces; each piece is rows x width, row-major. */
export interface HeadRows {
  readonly vocabulary: number;
  readonly width: number;
  readonly bias: Float64Array | null;
  readonly weight: (start: number, end: number) => Float64Array;
  readonly gradient: (start: number, end: number) => Float64Array;
}

export interface NextToken {
  readonly state: number;
  readonly token: number;
  /** In the units of the states' weights. */
  readonly share: number;
}

export interface NextTokens {
  /** Of each state: how much its loss weighs in the gradient; 0 where it has none. */
  readonly weights: Float64Array;
  /** The weight of one token of the loss. */
  readonly unit: number;
  readonly found: readonly NextToken[];
  /** For rows that hold more than the head's gradient, the likeliest of each state first; they may be wrong. */
  readonly supposed: readonly NextToken[];
  /** log sum exp of the logits, one per state. */
  readonly logSums: Float64Array;
  /** Transpose of the pseudo-inverse of the states, n x width. */
  readonly inverse: Float64Array;
}

const CHUNK = 2048;
const SAMPLED_ROWS = 1500;
/** Weights below this share of the largest are of states without a loss. */
const NO_LOSS = 1e-3;
/** Of one token: what less than this share of it is, is the label smoothing's. */
const LEAST_SHARE = 0.3;
const MOST_SUPPOSED = 4;
/** Standard error of a median of normal numbers, for a range of quartiles and a number of one. */
const MEDIAN_ERROR = 0.93;
const SIGNIFICANT = 8;

/**
 * G = sum_t (w_t p_t - n_t) h_t^T, where the hidden states h_t and with them the probabilities p_t are known: Y = G H^+ gives
 * w_t p_t - n_t row by row; rows of tokens that are no targets give the weights w_t.
 *
 * @param hidden n x width, row-major, n < width, independent
 * @param isMixed rows that hold the gradient of look-ups as well, of a head that is tied to the embedding
 */
export async function nextTokensOf(
  hidden: Float64Array,
  head: HeadRows,
  isMixed: (token: number) => boolean,
  product: ProductKernel,
  pause: Pause,
): Promise<NextTokens> {
  const count = hidden.length / head.width;
  const inverse = await pseudoInverse(hidden, head.width, product);
  const logSums = await logSumsOf(hidden, head, product, pause);
  const weights = await weightsOf(hidden, inverse, logSums, head, isMixed, product, pause);
  const unit = weights.reduce((least, own) => (own > 0 ? Math.min(least, own) : least), most(weights));
  const found: NextToken[] = [];
  const supposed = new Map<number, NextToken[]>();
  for (let start = 0; start < head.vocabulary; start += CHUNK) {
    await pause();
    const end = Math.min(start + CHUNK, head.vocabulary);
    const y = await product(head.gradient(start, end), inverse, end - start, count, head.width);
    const logits = await logitsOf(hidden, head, start, end, product);
    for (let at = 0; at < y.length; at++) {
      const [token, state] = [start + Math.floor(at / count), at % count];
      const share = weights[state]! * Math.exp(logits[at]! - logSums[state]!) - y[at]!;
      if (!(weights[state]! > 0)) {
        continue;
      }
      if (isMixed(token)) {
        // However little: what was added for look-ups may have taken any part of it.
        suppose(supposed, { state, token, share }, unit);
      } else if (share > LEAST_SHARE * unit) {
        found.push({ state, token, share });
      }
    }
  }
  return { weights, unit, found, supposed: [...supposed.values()].flat(), logSums, inverse };
}

/** Logits of some tokens, (end - start) x n. */
export async function logitsOf(
  hidden: Float64Array,
  { weight, bias, width }: HeadRows,
  start: number,
  end: number,
  product: ProductKernel,
): Promise<Float64Array> {
  const count = hidden.length / width;
  const logits = await product(weight(start, end), hidden, end - start, count, width);
  if (bias) {
    for (let at = 0; at < logits.length; at++) {
      logits[at]! += bias[start + Math.floor(at / count)]!;
    }
  }
  return logits;
}

/** (H H^T)^-1 H, n x width: the transpose of H^+. */
export async function pseudoInverse(
  hidden: Float64Array,
  width: number,
  product: ProductKernel,
): Promise<Float64Array> {
  const count = hidden.length / width;
  const factor = await factorise(await product(hidden, hidden, count, count, width), count, product);
  const out = new Float64Array(hidden.length);
  for (let col = 0; col < width; col++) {
    const column = Float64Array.from({ length: count }, (_, row) => hidden[row * width + col]!);
    solveUpper(factor, solveLower(factor, column)).forEach((value, row) => (out[row * width + col] = value));
  }
  return out;
}

async function logSumsOf(
  hidden: Float64Array,
  head: HeadRows,
  product: ProductKernel,
  pause: Pause,
): Promise<Float64Array> {
  const count = hidden.length / head.width;
  const tops = new Float64Array(count).fill(-Infinity);
  const sums = new Float64Array(count);
  for (let start = 0; start < head.vocabulary; start += CHUNK) {
    await pause();
    const logits = await logitsOf(hidden, head, start, Math.min(start + CHUNK, head.vocabulary), product);
    for (let at = 0; at < logits.length; at++) {
      const state = at % count;
      const logit = logits[at]!;
      if (logit > tops[state]!) {
        sums[state] = sums[state]! * Math.exp(tops[state]! - logit);
        tops[state] = logit;
      }
      sums[state]! += Math.exp(logit - tops[state]!);
    }
  }
  return sums.map((sum, state) => tops[state]! + Math.log(sum));
}

/** The median over rows of tokens that are nearly all no targets. */
async function weightsOf(
  hidden: Float64Array,
  inverse: Float64Array,
  logSums: Float64Array,
  head: HeadRows,
  isMixed: (token: number) => boolean,
  product: ProductKernel,
  pause: Pause,
): Promise<Float64Array> {
  const count = logSums.length;
  const ratios = Array.from({ length: count }, (): number[] => []);
  const stride = Math.max(1, Math.floor(head.vocabulary / SAMPLED_ROWS));
  for (let token = 0; token < head.vocabulary; token += stride) {
    if (token % (64 * stride) === 0) {
      await pause();
    }
    if (isMixed(token)) {
      continue;
    }
    const y = await product(head.gradient(token, token + 1), inverse, 1, count, head.width);
    const logits = await logitsOf(hidden, head, token, token + 1, product);
    y.forEach((value, state) => ratios[state]!.push(value / Math.exp(logits[state]! - logSums[state]!)));
  }
  const found = Float64Array.from(ratios, (own) => {
    const sorted = own.sort((one, other) => one - other);
    const quantile = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] ?? 0;
    const error = ((quantile(0.75) - quantile(0.25)) * MEDIAN_ERROR) / Math.sqrt(Math.max(sorted.length, 1));
    return quantile(0.5) > SIGNIFICANT * error ? quantile(0.5) : 0;
  });
  const heaviest = most(found);
  return found.map((own) => (own > NO_LOSS * heaviest ? own : 0));
}

/** Keeps, of each state, the few whose share comes nearest to whole tokens. */
function suppose(byState: Map<number, NextToken[]>, own: NextToken, unit: number): void {
  const misfit = ({ share }: NextToken): number => Math.abs(share - unit * Math.max(1, Math.round(share / unit)));
  const others = byState.get(own.state) ?? [];
  const place = others.findIndex((other) => misfit(own) < misfit(other));
  if (place >= 0 || others.length < MOST_SUPPOSED) {
    others.splice(place < 0 ? others.length : place, 0, own);
    byState.set(own.state, others.slice(0, MOST_SUPPOSED));
  }
}
