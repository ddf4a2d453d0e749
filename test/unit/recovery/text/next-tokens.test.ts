import { describe, expect, it } from 'vitest';
import { plainProduct } from '../../../../src/recovery/cholesky.js';
import { nextTokensOf } from '../../../../src/recovery/text/next-tokens.js';
import { generator } from '../../../../src/recovery/paper-method.js';
import { gaussian } from '../../../synthetic-head.js';

/** Targets of a language model's head, from the textbook gradient of softmax cross-entropy. */

const [VOCABULARY, WIDTH, STATES] = [300, 24, 6];
const pause = (): Promise<void> => Promise.resolve();

function headOf(weights: readonly number[], targets: readonly (readonly [number, number])[]) {
  const random = generator(4);
  const draw = (length: number): Float64Array => Float64Array.from({ length }, () => gaussian(random));
  const [hidden, weight, bias] = [draw(STATES * WIDTH), draw(VOCABULARY * WIDTH), draw(VOCABULARY)];
  const gradient = new Float64Array(VOCABULARY * WIDTH);
  for (let state = 0; state < STATES; state++) {
    const h = hidden.subarray(state * WIDTH, (state + 1) * WIDTH);
    const logits = Float64Array.from({ length: VOCABULARY }, (_, v) =>
      h.reduce((sum, value, col) => sum + value * weight[v * WIDTH + col]!, bias[v]!),
    );
    const total = logits.reduce((sum, own) => sum + Math.exp(own), 0);
    for (let v = 0; v < VOCABULARY; v++) {
      const share = targets.filter(([of, token]) => of === state && token === v).length / STATES;
      const slope = (weights[state]! * Math.exp(logits[v]!)) / total - share;
      h.forEach((value, col) => (gradient[v * WIDTH + col]! += slope * value));
    }
  }
  const rows = (data: Float64Array) => (start: number, end: number) => data.slice(start * WIDTH, end * WIDTH);
  return {
    hidden,
    head: { vocabulary: VOCABULARY, width: WIDTH, bias, weight: rows(weight), gradient: rows(gradient) },
  };
}

describe('next tokens', () => {
  it('and the weight of every state follow from the head', async () => {
    const targets = [
      [0, 17],
      [1, 250],
      [2, 3],
      [2, 99],
      [4, 17],
    ] as const;
    const { hidden, head } = headOf([1 / 6, 1 / 6, 2 / 6, 0, 1 / 6, 0], targets);
    const next = await nextTokensOf(hidden, head, () => false, plainProduct, pause);
    expect(next.found.map(({ state, token }) => [state, token]).sort()).toEqual(targets.map((own) => [...own]).sort());
    expect(next.found.every(({ share }) => Math.abs(share - 1 / 6) < 1e-9)).toBe(true);
    expect([...next.weights].map((own) => Math.round(own * 6))).toEqual([1, 1, 2, 0, 1, 0]);
    expect(next.unit).toBeCloseTo(1 / 6, 9);
  });

  it('are only supposed for rows that hold more than the head', async () => {
    const { hidden, head } = headOf([1 / 6, 0, 0, 0, 0, 0], [[0, 17]]);
    const next = await nextTokensOf(hidden, head, (token) => token === 17, plainProduct, pause);
    expect(next.found).toEqual([]);
    expect(next.supposed.map(({ state, token }) => [state, token])).toEqual([[0, 17]]);
  });

  it('are supposed where look-ups hide their share', async () => {
    const { hidden, head } = headOf([1 / 6, 1 / 6, 0, 0, 0, 0], [[0, 17]]);
    // The whole of the share, taken away by what is added to the row.
    const gradient = (start: number, end: number): Float64Array => {
      const rows = head.gradient(start, end);
      for (let col = 0; start <= 17 && end > 17 && col < WIDTH; col++) {
        rows[(17 - start) * WIDTH + col]! += hidden[col]! / 6;
      }
      return rows;
    };
    const next = await nextTokensOf(hidden, { ...head, gradient }, (token) => token === 17, plainProduct, pause);
    expect(next.supposed.map(({ state, token }) => [state, token])).toContainEqual([0, 17]);
    expect(next.supposed[0]!.share).toBeCloseTo(0, 6);
  });
});
