import { describe, expect, it } from 'vitest';
import { convolveFilter, convolve } from '../../../../src/graph/convolution.js';
import { plainProduct } from '../../../../src/recovery/cholesky.js';
import { type MaximaPlan, type PooledConv, tellMaxima } from '../../../../src/recovery/walk/window-maxima.js';
import { CancelledError } from '../../../../src/protocol/errors.js';
import { hashed } from '../../../networks.js';

/** Which entries of a max pooling's windows were the largest, from a float32 gradient of the convolution below. */

const SIDE = 8;
const GEOMETRY = { strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 } as const;

/** A convolution of 3 x 3 below a pooling of 2 x 2 whose windows are `stride` apart. */
function pooled({ channels = 6, filters = 24, stride = 2, batch = 1 }): {
  problem: PooledConv;
  winners: Int32Array;
  input: Float64Array;
} {
  const plane = SIDE * SIDE;
  const input = hashed(batch * channels * plane, 1).map((own) => Math.max(0, own));
  const weights = hashed(filters * channels * 9, 2);
  const forward = (x: Float64Array): Float64Array =>
    convolve(x, [batch, channels, SIDE, SIDE], weights, [filters, channels, 3, 3], GEOMETRY, [
      batch,
      filters,
      SIDE,
      SIDE,
    ]);
  const seen = forward(input);
  const along = Math.floor((SIDE - 2) / stride) + 1;
  const candidates = Int32Array.from({ length: along * along * 4 }, (_, at) => {
    const window = Math.floor(at / 4);
    const row = Math.floor(window / along) * stride + Math.floor((at % 4) / 2);
    return row * SIDE + (window % along) * stride + (at % 2);
  });
  const windows = along * along;
  const largest = new Float64Array(batch * filters * windows);
  const winners = new Int32Array(largest.length).fill(-1);
  const noise = hashed(largest.length, 3);
  const delta = new Float64Array(largest.length);
  const spread = new Float64Array(seen.length);
  largest.forEach((_, at) => {
    const first = Math.floor(at / windows) * plane;
    const own = candidates.subarray((at % windows) * 4, (at % windows) * 4 + 4);
    const best = [...own].reduce((most, position) => (seen[first + position]! > seen[first + most]! ? position : most));
    largest[at] = Math.max(0, seen[first + best]!);
    if (largest[at] > 0) {
      winners[at] = best;
      delta[at] = noise[at]!;
      spread[first + best]! += delta[at];
    }
  });
  const gradient = convolveFilter(
    input,
    [batch, channels, SIDE, SIDE],
    spread,
    [batch, filters, SIDE, SIDE],
    GEOMETRY,
    [filters, channels, 3, 3],
  ).map(Math.fround);
  return {
    winners,
    input,
    problem: {
      place: {
        index: 0,
        name: 'conv',
        gradient,
        filters,
        input: [channels, SIDE, SIDE],
        kernel: [3, 3],
        output: [SIDE, SIDE],
        geometry: GEOMETRY,
      },
      batch,
      candidates,
      perWindow: 4,
      delta,
      largest,
      forward: (x) => Promise.resolve(forward(x)),
      rectified: true,
    },
  };
}

const PLAN = { flatRounds: 1, weightedFrom: 8 };
const go = (): Promise<void> => Promise.resolve();

describe('the choices of a max pooling', () => {
  it.each([
    ['windows side by side', {}],
    ['windows that overlap', { stride: 1, filters: 32, channels: 10 }],
    ['two samples', { batch: 2, filters: 40, channels: 20 }],
  ])('are told with the input: %s', async (_, options) => {
    const { problem, winners } = pooled(options);
    const told = await tellMaxima(problem, PLAN, plainProduct, go);
    if (typeof told === 'string') {
      throw new Error(told);
    }
    const wrong = told.winners.filter((own, at) => own !== winners[at]).length;
    // What is left the equations' repairs correct.
    expect(wrong / winners.length).toBeLessThan(0.005);
    expect(told.residual).toBeLessThan(0.02);
  });

  it('are told from an input that is roughly right, where equal shares lead nowhere', async () => {
    const { problem, winners, input } = pooled({ filters: 9 });
    const wrongOf = async (own: PooledConv, plan: MaximaPlan): Promise<number> => {
      const told = await tellMaxima(own, plan, plainProduct, go);
      return typeof told === 'string'
        ? 1
        : told.winners.filter((at, which) => at !== winners[which]).length / winners.length;
    };
    const noise = hashed(input.length, 11);
    const begin = input.map((own, at) => Math.max(0, own + 0.1 * noise[at]!));
    expect(await wrongOf(problem, PLAN)).toBeGreaterThan(0.1);
    expect(await wrongOf({ ...problem, begin }, { flatRounds: 0, weightedFrom: 8 })).toBeLessThan(0.02);
  });

  it('need more equations than unknowns', async () => {
    const { problem } = pooled({ filters: 8 });
    expect(await tellMaxima(problem, PLAN, plainProduct, go)).toBe(
      '72 equations for 64 unknowns of each channel do not tell the maxima above',
    );
  });

  it('of another gradient are not told', async () => {
    const { problem } = pooled({});
    const place = { ...problem.place, gradient: hashed(problem.place.gradient.length, 9) };
    const told = await tellMaxima({ ...problem, place }, PLAN, plainProduct, go);
    expect(typeof told === 'string' ? 1 : told.residual).toBeGreaterThan(0.3);
  });

  it('are searched for until the user stops it', async () => {
    let rounds = 0;
    const search = tellMaxima(pooled({}).problem, PLAN, plainProduct, () =>
      ++rounds < 3 ? Promise.resolve() : Promise.reject(new CancelledError()),
    );
    await expect(search).rejects.toBeInstanceOf(CancelledError);
    expect(rounds).toBe(3);
  });
});
