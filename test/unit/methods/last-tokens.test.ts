import { describe, expect, it } from 'vitest';
import { correctedByNorm } from '../../../src/methods/texts/last-tokens.js';
import type { Norm } from '../../../src/network/transformers/transformer.js';
import { generator } from '../../../src/recovery/paper-method.js';
import { gaussian } from '../../synthetic-head.js';

/** Last tokens from the gradient of the norm before the head, which is taken by finite differences of the loss. */

const [VOCABULARY, WIDTH, STATES] = [40, 64, 5];
const SHARES = [0.2, 0.2, 0.4, 0.1, 0.1];
const random = generator(9);
const draw = (length: number): Float64Array => Float64Array.from({ length }, () => gaussian(random));
const [weight, gain, bias, common] = [draw(VOCABULARY * WIDTH), draw(WIDTH), draw(WIDTH), draw(WIDTH)];
const DIFFERENT = draw(STATES * WIDTH);
/** As states of one model are: nearly the same. */
const ALIKE = draw(STATES * WIDTH).map((value, at) => common[at % WIDTH]! + 0.2 * value);
const NORM: Norm = { kind: 'layer', weight: 'ln_f.weight', bias: 'ln_f.bias', epsilon: 1e-5, offset: 0 };

function hiddenWith(normal: Float64Array, own: Float64Array): Float64Array {
  return normal.map((value, at) => own[at % WIDTH]! * value + bias[at % WIDTH]!);
}

/** Cross entropy of the targets. */
function loss(normal: Float64Array, own: Float64Array, targets: readonly number[]): number {
  const hidden = hiddenWith(normal, own);
  return targets.reduce((sum, target, state) => {
    const logits = Float64Array.from({ length: VOCABULARY }, (_, token) =>
      weight
        .subarray(token * WIDTH, (token + 1) * WIDTH)
        .reduce((product, value, col) => product + value * hidden[state * WIDTH + col]!, 0),
    );
    return sum + SHARES[state]! * (Math.log(logits.reduce((all, own) => all + Math.exp(own), 0)) - logits[target]!);
  }, 0);
}

function gainGradient(normal: Float64Array, targets: readonly number[]): Float64Array {
  const step = 1e-5;
  return gain.map((_, col) => {
    const moved = (by: number): Float64Array => gain.map((value, at) => (at === col ? value + by : value));
    return (loss(normal, moved(step), targets) - loss(normal, moved(-step), targets)) / (2 * step);
  });
}

async function corrected(
  truth: readonly number[],
  supposed: readonly number[],
  among: readonly number[],
  normal = DIFFERENT,
) {
  const simulated = gainGradient(normal, supposed);
  const told = await correctedByNorm(
    supposed.map((token, state) => ({ state, token, share: SHARES[state]! })),
    {
      rows: { tokens: among, data: new Float64Array(among.length * WIDTH) },
      normRest: gainGradient(normal, truth).map((value, at) => value - simulated[at]!),
    },
    { head: null, finalNorm: NORM },
    { normOf: () => ({ kind: 'layer', gain, bias, epsilon: 1e-5 }) },
    hiddenWith(normal, gain),
    { width: WIDTH, weight: (start, end) => weight.slice(start * WIDTH, end * WIDTH) },
    () => Promise.resolve(),
  );
  return told?.map(({ token }) => token);
}

describe('last tokens that were supposed wrongly', () => {
  const among = Array.from({ length: 20 }, (_, at) => 2 * at);

  it('are told by the gradient of the norm before the head', async () => {
    expect(await corrected([4, 18, 30, 2, 36], [4, 20, 30, 8, 0], among)).toEqual([4, 18, 30, 2, 36]);
  });

  it('are told apart where the states are alike, and the right tokens stand at each other’s places', async () => {
    expect(await corrected([4, 18, 30, 2, 36], [18, 30, 4, 36, 2], among, ALIKE)).toEqual([4, 18, 30, 2, 36]);
  });

  it('stay where they are right', async () => {
    expect(await corrected([4, 18, 30, 2, 36], [4, 18, 30, 2, 36], among)).toEqual([4, 18, 30, 2, 36]);
  });

  it('are not told without that gradient', async () => {
    const pause = (): Promise<void> => Promise.resolve();
    const rows = { tokens: among, data: new Float64Array(0) };
    const nothing = { normOf: () => ({ kind: 'layer' as const, gain, bias, epsilon: 1e-5 }) };
    const head = { width: WIDTH, weight: () => new Float64Array(WIDTH) };
    const given = { rows, normRest: null };
    expect(
      await correctedByNorm([], given, { head: null, finalNorm: NORM }, nothing, new Float64Array(0), head, pause),
    ).toBeUndefined();
  });
});
