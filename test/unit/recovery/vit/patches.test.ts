import { describe, expect, it } from 'vitest';
import { plainProduct } from '../../../../src/recovery/cholesky.js';
import { matrixProduct, transposed } from '../../../../src/recovery/linear-algebra.js';
import { generator } from '../../../../src/recovery/paper-method.js';
import { judgePatches } from '../../../../src/recovery/vit/judge-patches.js';
import { leadingTokens } from '../../../../src/recovery/vit/leading-tokens.js';
import { type PatchShape, gridOf, imageOf, isOverlapping } from '../../../../src/recovery/vit/patch-image.js';
import { solvePatches } from '../../../../src/recovery/vit/solve-patches.js';
import { relativeError } from '../../../networks.js';
import { gaussian } from '../../../synthetic-head.js';

/** Patches as least squares, from closed forms. */

const TOKENS = 16;
const WIDTH = 40;
const NUMBERS = 12;
const pause = (): Promise<void> => Promise.resolve();

function draws(size: number, seed: number, deviation = 1): Float64Array {
  const random = generator(seed);
  return Float64Array.from({ length: size }, () => deviation * gaussian(random));
}

/** Rows of A, and X^T A as numbers x d, which is the gradient transposed. */
function sampleOf(seed: number) {
  const rows = draws(TOKENS * WIDTH, seed);
  const patches = draws(TOKENS * NUMBERS, seed + 100);
  return { rows, patches, gradient: matrixProduct(transposed(patches, TOKENS, NUMBERS), rows, NUMBERS, TOKENS, WIDTH) };
}

const added = (one: Float64Array, other: Float64Array): Float64Array => one.map((value, at) => value + other[at]!);

async function solve(rows: Float64Array, gradient: Float64Array) {
  return solvePatches(
    { rows: TOKENS, cols: WIDTH, data: rows },
    { rows: NUMBERS, cols: WIDTH, data: gradient },
    plainProduct,
    pause,
  );
}

describe('patches of one sample', () => {
  it('are exact, whatever scale both tensors share', async () => {
    const { rows, patches, gradient } = sampleOf(1);
    const scale = (values: Float64Array): Float64Array => values.map((value) => -1e-9 * value);
    const solved = (await solve(scale(rows), scale(gradient)))!;
    expect(relativeError(solved.patches, patches)).toBeLessThan(1e-13);
    expect(solved.residual).toBeLessThan(1e-14);
    expect(judgePatches(solved, 1e-16, 2 ** -53)).toBe('exact');
  });

  it('expect the error that noise makes', async () => {
    const ratios: number[] = [];
    for (let seed = 1; seed <= 12; seed++) {
      const { rows, patches, gradient } = sampleOf(seed);
      const noise = draws(gradient.length, seed + 500, 0.03);
      const solved = (await solve(added(rows, draws(rows.length, seed + 600, 0.01)), added(gradient, noise)))!;
      const error = Math.sqrt(
        solved.patches.reduce((sum, value, at) => sum + (value - patches[at]!) ** 2, 0) / patches.length,
      );
      ratios.push(error / solved.expectedError);
      expect(solved.worstError).toBeGreaterThan(solved.expectedError);
    }
    const mean = ratios.reduce((sum, own) => sum + own, 0) / ratios.length;
    expect(mean).toBeGreaterThan(0.8);
    expect(mean).toBeLessThan(1.2);
  });

  it('are none where rows depend on each other', async () => {
    const { rows, gradient } = sampleOf(1);
    rows.copyWithin(WIDTH, 0, WIDTH);
    expect(await solve(rows, gradient)).toBeUndefined();
  });
});

describe('verdicts', () => {
  it('tell a batch by the equations that hold for any number of samples', async () => {
    const [first, second] = [sampleOf(1), sampleOf(2)];
    const solved = (await solve(added(first.rows, second.rows), added(first.gradient, second.gradient)))!;
    expect(judgePatches(solved, 1e-7, 2 ** -24)).toBe('batch');
    expect(judgePatches(solved, null, 2 ** -24)).toBe('unfit');
    // Noise breaks both equations alike; what is left is too much to show anything.
    expect(judgePatches(solved, 0.3, 2 ** -24)).toBe('uncertain');
  });

  const solved = { patches: new Float64Array(1), residual: 1e-7, expectedError: 1e-5, worstError: 1e-4, spread: 1 };

  it.each([
    ['exact', solved, 1e-7],
    // Nothing tells whether both tensors were scaled alike.
    ['close', solved],
    ['close', { ...solved, residual: 1e-4, expectedError: 0.005 }],
    ['close', { ...solved, expectedError: 0.1 }],
    ['uncertain', { ...solved, expectedError: 0.5 }],
    ['uncertain', { ...solved, expectedError: NaN }],
    ['unfit', { ...solved, residual: NaN }],
    ['uncertain', { ...solved, spread: 0 }],
  ] as const)('%s', (verdict, own, misfit: number | null = null) => {
    expect(judgePatches(own, misfit, 2 ** -24)).toBe(verdict);
  });
});

describe('tokens that are no patches', () => {
  const { rows } = sampleOf(3);
  const position = { rows: TOKENS, cols: WIDTH, data: rows };
  const rowOf = (at: number): Float64Array => rows.slice(at * WIDTH, (at + 1) * WIDTH);
  const sumFrom = (first: number): Float64Array =>
    Array.from({ length: TOKENS - first }, (_, at) => rowOf(first + at)).reduce(added);

  it.each([0, 1, 2, 5])('are what the bias does not sum over: %i', (count) => {
    const found = leadingTokens(position, sumFrom(count), [])!;
    expect(found.count).toBe(count);
    expect(found.misfit).toBeLessThan(1e-12);
  });

  it('are none of any number where the bias contradicts', () => {
    expect(leadingTokens(position, draws(WIDTH, 9), [])).toBeUndefined();
    expect(
      leadingTokens(
        position,
        added(
          sumFrom(1),
          rowOf(0).map((value) => value / 2),
        ),
        [],
      ),
    ).toBeUndefined();
  });

  it('are told by tensors of their own without a bias', () => {
    const others = [draws(WIDTH, 9), rowOf(1), rowOf(0)];
    expect(leadingTokens(position, undefined, others)).toEqual({ count: 2, misfit: 0 });
    expect(leadingTokens(position, undefined, [rowOf(1)])).toEqual({ count: 0, misfit: null });
  });
});

describe('an image of patches', () => {
  const shape: PatchShape = { channels: 2, height: 2, width: 3, channelsLast: false };
  const grid = { rows: 2, cols: 2 };
  const image = Float64Array.from({ length: 2 * 4 * 6 }, (_, at) => Math.sin(at * at));
  const pixel = (channel: number, y: number, x: number): number => image[(channel * 4 + y) * 6 + x]!;
  const cut = (channelsLast: boolean): Float64Array =>
    Float64Array.from({ length: image.length }, (_, at) => {
      const [token, place] = [Math.floor(at / 12), at % 12];
      const [channel, inner] = channelsLast ? [place % 2, Math.floor(place / 2)] : [Math.floor(place / 6), place % 6];
      return pixel(channel, Math.floor(token / 2) * 2 + Math.floor(inner / 3), (token % 2) * 3 + (inner % 3));
    });

  it.each([false, true])('comes together, channels last: %s', (channelsLast) => {
    expect(imageOf(cut(channelsLast), { ...shape, channelsLast }, grid)).toEqual(image);
    expect(isOverlapping(cut(channelsLast), { ...shape, channelsLast }, grid, 1e-6)).toBe(false);
  });

  it.each([false, true])('comes of no patches that overlap, channels last: %s', (channelsLast) => {
    const size = { channels: 1, height: 2, width: 3, channelsLast };
    // Stride two: columns 0 to 2 and 2 to 4 of five.
    const patches = Float64Array.from([1, 5, 2, 7, 4, 9, 2, 8, 3, 9, 6, 0]);
    expect(isOverlapping(patches, size, { rows: 1, cols: 2 }, 1e-6)).toBe(true);
  });

  it('is square unless the input says otherwise', () => {
    expect(gridOf(16, shape, undefined)).toEqual({ rows: 4, cols: 4 });
    expect(gridOf(8, shape, undefined)).toBeUndefined();
    expect(gridOf(8, shape, [2, 8, 6])).toEqual({ rows: 4, cols: 2 });
    expect(gridOf(16, shape, [2, 8, 6])).toBeUndefined();
    expect(gridOf(16, shape, [2, 7, 6])).toBeUndefined();
  });
});
