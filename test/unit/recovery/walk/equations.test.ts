import { describe, expect, it } from 'vitest';
import { convolveFilter } from '../../../../src/graph/convolution.js';
import { plainProduct } from '../../../../src/recovery/cholesky.js';
import { deltaOf } from '../../../../src/recovery/walk/deltas.js';
import { solveInput } from '../../../../src/recovery/walk/equations.js';
import type { ConvPlace } from '../../../../src/recovery/walk/conv-place.js';
import { most, norm } from '../../../../src/recovery/vectors.js';
import { hashed, relativeError } from '../../../networks.js';

/** Inputs of convolutions from deltas that are known, and the other way round, on gradients in float32. */

interface Case {
  readonly place: ConvPlace;
  readonly delta: Float64Array;
  readonly input: Float64Array;
}

function layer({
  batch = 1,
  channels = 6,
  side = 6,
  filters = 24,
  kernel = 3,
  stride = 1,
  groups = 1,
  cut = 0,
  rounded = Math.fround,
}): Case {
  const pad = Math.floor(kernel / 2);
  const out = Math.floor((side + 2 * pad - kernel) / stride) + 1;
  const geometry = {
    strides: [stride, stride],
    pads: [pad, pad, pad, pad],
    dilations: [1, 1],
    groups,
  } as const;
  const input = hashed(batch * channels * side * side, 1).map((own) => Math.max(0, own - cut));
  const delta = hashed(batch * filters * out * out, 2).map((own) => (own > 0 ? own : 0));
  const gradient = convolveFilter(input, [batch, channels, side, side], delta, [batch, filters, out, out], geometry, [
    filters,
    channels / groups,
    kernel,
    kernel,
  ]).map(rounded);
  return {
    input,
    delta,
    place: {
      index: 0,
      name: 'conv',
      gradient,
      filters,
      input: [channels, side, side],
      kernel: [kernel, kernel],
      output: [out, out],
      geometry,
    },
  };
}

const NONE: ReadonlySet<number> = new Set();
const ERROR = 2 ** -24;

describe('the input of a convolution whose delta is known', () => {
  it.each([
    ['one sample', {}],
    ['two samples', { batch: 2, filters: 40 }],
    ['stride two', { stride: 2, filters: 40 }],
    ['two groups', { groups: 2, filters: 48 }],
    ['a kernel of five', { kernel: 5 }],
  ] as const)('solves linear equations: %s', async (_, options) => {
    const { place, delta, input } = layer(options);
    const batch = 'batch' in options ? options.batch : 1;
    const solved = await solveInput([{ place, delta, doubtful: NONE }], batch, ERROR, plainProduct);
    if (typeof solved === 'string') {
      throw new Error(solved);
    }
    expect(relativeError(solved.values, input)).toBeLessThan(1e-5);
    expect(solved.outlying).toEqual([[]]);
    const off = solved.values.map((own, at) => Math.abs(own - input[at]!) / solved.error[at]!);
    // Standard errors, so that a zero is told from a small value.
    expect(off.filter((own) => own > 6)).toHaveLength(0);
    expect(off.filter((own) => own > 0.5).length).toBeGreaterThan(off.length / 4);
  });

  it('takes several layers together where one does not suffice', async () => {
    const one = layer({ filters: 3 });
    const other = layer({ filters: 30, kernel: 1 });
    const alone = await solveInput([{ ...one, doubtful: NONE }], 1, ERROR, plainProduct);
    expect(alone).toBe('27 equations for 36 unknowns of each channel');
    const solved = await solveInput(
      [
        { ...one, doubtful: NONE },
        { ...other, doubtful: NONE },
      ],
      1,
      ERROR,
      plainProduct,
    );
    expect(typeof solved === 'string' ? NaN : relativeError(solved.values, one.input)).toBeLessThan(1e-5);
  });

  it.each([1, 1e3])('leaves out channels whose delta is wrong, by a factor of %d too', async (factor) => {
    const { place, delta, input } = layer({});
    const plane = place.output[0] * place.output[1];
    const wrong = delta.slice();
    for (const channel of [3, 11]) {
      const at = channel * plane + wrong.subarray(channel * plane, (channel + 1) * plane).findIndex((own) => own === 0);
      wrong[at] = 0.3 * factor;
    }
    const solved = await solveInput([{ place, delta: wrong, doubtful: NONE }], 1, ERROR, plainProduct);
    if (typeof solved === 'string') {
      throw new Error(solved);
    }
    expect(solved.outlying).toEqual([[3, 11]]);
    expect(relativeError(solved.values, input)).toBeLessThan(1e-5);
    const repaired = await deltaOf(place, solved.values, 1, plainProduct, [3, 11]);
    if (typeof repaired === 'string') {
      throw new Error(repaired);
    }
    for (const channel of [3, 11]) {
      const [from, to] = [channel * plane, (channel + 1) * plane];
      expect(relativeError(repaired.subarray(from, to), delta.subarray(from, to))).toBeLessThan(1e-4);
    }
  });

  it('begins without doubtful channels, however many are wrong', async () => {
    const { place, delta, input } = layer({ filters: 40 });
    const plane = place.output[0] * place.output[1];
    const doubtful = new Set(Array.from({ length: 18 }, (_, at) => at));
    const wrong = delta.map((own, at) => (doubtful.has(Math.floor(at / plane)) ? own + 0.2 * Math.sin(at) : own));
    const solved = await solveInput([{ place, delta: wrong, doubtful }], 1, ERROR, plainProduct);
    expect(typeof solved === 'string' ? NaN : relativeError(solved.values, input)).toBeLessThan(1e-5);
  });

  it('says nothing that rests on a doubtful delta alone', async () => {
    const { place, delta, input } = layer({ filters: 36, kernel: 1 });
    const certain = await solveInput([{ place, delta, doubtful: NONE }], 1, ERROR, plainProduct);
    expect(typeof certain === 'string' ? NaN : relativeError(certain.values, input)).toBeLessThan(1e-2);
    const wrong = delta.slice();
    wrong[wrong.findIndex((own) => own === 0)] = 0.3;
    const solved = await solveInput([{ place, delta: wrong, doubtful: new Set([0]) }], 1, ERROR, plainProduct);
    expect(solved).toBe(
      '35 equations that others would contradict if they were wrong, for 36 unknowns of each channel',
    );
  });

  it.each([
    ['few to check each other', { filters: 60, kernel: 1 }, 30],
    ['one input channel and one tap', { filters: 200, kernel: 1, channels: 1 }, 150],
  ] as const)('keeps doubtful deltas that others check: %s', async (_, options, count) => {
    const { place, delta, input } = layer(options);
    const doubtful = new Set(Array.from({ length: count }, (__, at) => at));
    const solved = await solveInput([{ place, delta, doubtful }], 1, ERROR, plainProduct);
    expect(typeof solved === 'string' ? solved : relativeError(solved.values, input)).toBeLessThan(1e-5);
    expect(typeof solved === 'string' ? 0 : solved.equations).toBeGreaterThan(options.filters - count);
  });

  it('tells no wrong entry by signs, whichever delta is wrong', async () => {
    const { place, delta, input } = layer({ filters: 3, channels: 2, cut: 0.35 });
    let told = 0;
    for (let at = 0; at < delta.length; at++) {
      const wrong = delta.slice();
      wrong[at] = wrong[at] === 0 ? 0.3 : 0;
      const solved = await solveInput([{ place, delta: wrong, doubtful: NONE }], 1, ERROR, plainProduct, {
        told: undefined,
        pause: () => Promise.resolve(),
      });
      if (typeof solved !== 'string' && solved.condition === null && solved.residual < 1e-4) {
        told++;
        const off = solved.values.map((own, entry) => (solved.unknown?.[entry] === 1 ? 0 : own - input[entry]!));
        expect(most(off.map(Math.abs))).toBeLessThan(1e-4);
      }
    }
    expect(told).toBeGreaterThan(0);
  });

  it('says that equations which repeat each other do not suffice', async () => {
    const { place, delta } = layer({ filters: 24 });
    const plane = place.output[0] * place.output[1];
    const same = delta.map((_, at) => delta[at % plane]!);
    const solved = await solveInput([{ place, delta: same, doubtful: NONE }], 1, ERROR, plainProduct);
    expect(solved).toMatch(/^equations of condition/);
  });
});

describe('the input of a convolution below a rectifier, from fewer equations than entries', () => {
  const pause = (): Promise<void> => Promise.resolve();

  /** Largest error of what is told, in units of the input's root mean square, and the share told. */
  async function told(
    own: Case,
    batch = 1,
    given?: (at: number) => boolean,
    error = ERROR,
  ): Promise<{ off: number; share: number }> {
    const known =
      given === undefined
        ? undefined
        : {
            values: own.input.map((value, at) => (given(at) ? value : 0)),
            isGiven: Uint8Array.from(own.input, (_, at) => Number(given(at))),
            deviation: () => 1e-7,
          };
    const solved = await solveInput([{ ...own, doubtful: NONE }], batch, error, plainProduct, { told: known, pause });
    if (typeof solved === 'string') {
      return { off: 0, share: 0 };
    }
    expect(solved.condition).toBeNull();
    const size = norm(own.input) / Math.sqrt(own.input.length);
    const isTold = (at: number): boolean => solved.unknown?.[at] !== 1;
    const offs = own.input.map((value, at) => (isTold(at) ? Math.abs(value - solved.values[at]!) / size : 0));
    return { off: most(offs), share: offs.filter((_, at) => isTold(at)).length / offs.length };
  }

  it.each([
    ['one sample', { filters: 3, cut: 0.3 }],
    ['two samples', { filters: 6, batch: 2, cut: 0.3 }],
    ['stride two', { filters: 8, stride: 2, cut: 0.3 }],
    ['two groups', { filters: 6, groups: 2, cut: 0.3 }],
  ] as const)('is the only one that is not negative: %s', async (_, options) => {
    const own = layer(options);
    const { off, share } = await told(own, 'batch' in options ? options.batch : 1);
    expect(share).toBeGreaterThan(0.8);
    expect(off).toBeLessThan(1e-4);
  });

  it('is told with the help of entries that a shortcut tells, where it is not without', async () => {
    const own = layer({ filters: 3, cut: -0.3 });
    expect((await told(own)).share).toBeLessThan(0.5);
    const { off, share } = await told(own, 1, (at) => (at * 7) % 10 < 6);
    expect(share).toBe(1);
    expect(off).toBeLessThan(1e-4);
  });

  it.each([
    ['float32', Math.fround, ERROR],
    ['float64', (value: number) => value, 2 ** -53],
  ])('never tells values that are not the only ones, nor wrong ones, however dense: %s', async (_, rounded, error) => {
    const shares: number[] = [];
    for (let filters = 1; filters < 4; filters++) {
      for (let cut = -0.45; cut < 0.46; cut += 0.05) {
        const { off, share } = await told(layer({ filters, cut, channels: 12, rounded }), 1, undefined, error);
        expect(off).toBeLessThan(1e-3);
        shares.push(share);
      }
    }
    // Both ends are there: otherwise nothing would be shown.
    expect(shares.filter((share) => share === 0).length).toBeGreaterThan(10);
    expect(shares.filter((share) => share > 0.9).length).toBeGreaterThan(5);
  });

  it('leaves out a channel whose delta is wrong', async () => {
    const own = layer({ filters: 5, side: 7, cut: 0.3, channels: 10 });
    const plane = 49;
    const delta = own.delta.slice();
    delta[2 * plane + delta.subarray(2 * plane, 3 * plane).findIndex((value) => value === 0)] = 0.4;
    const solved = await solveInput([{ ...own, delta, doubtful: NONE }], 1, ERROR, plainProduct, {
      told: undefined,
      pause,
    });
    if (typeof solved === 'string') {
      throw new Error(solved);
    }
    expect(solved.outlying).toEqual([[2]]);
    const wrong = solved.values.filter(
      (value, at) => solved.unknown?.[at] !== 1 && Math.abs(value - own.input[at]!) > 1e-3,
    );
    expect(wrong).toHaveLength(0);
  });
});

describe('the delta of a convolution whose input is known', () => {
  it.each([{}, { batch: 2, channels: 12 }, { groups: 2, channels: 12 }, { stride: 2 }])(
    'follows from its gradient: %o',
    async (options) => {
      const { place, delta, input } = layer(options);
      const found = await deltaOf(place, input, 'batch' in options ? options.batch : 1, plainProduct);
      expect(typeof found === 'string' ? found : relativeError(found, delta)).toBeLessThan(1e-3);
    },
  );

  it('is not told by fewer numbers than positions, nor by equal patches', async () => {
    const few = layer({ channels: 2 });
    expect(await deltaOf(few.place, few.input, 1, plainProduct)).toBe(
      '36 positions are more than a gradient of 18 numbers tells apart',
    );
    const flat = layer({ channels: 8, side: 4 });
    expect(await deltaOf(flat.place, new Float64Array(flat.input.length), 1, plainProduct)).toMatch(/too alike/);
  });
});
