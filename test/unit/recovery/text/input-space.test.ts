import { describe, expect, it } from 'vitest';
import { plainProduct } from '../../../../src/recovery/cholesky.js';
import { distancesTo, inputSpaceOf, isInside } from '../../../../src/recovery/text/input-space.js';
import { generator } from '../../../../src/recovery/paper-method.js';
import { gaussian } from '../../../synthetic-head.js';

/** Row spaces of products delta^T z, against the vectors they were made of. */

const WIDTH = 40;
const ROWS = 120;
const pause = (): Promise<void> => Promise.resolve();

function randomRows(count: number, random: () => number): Float64Array {
  return Float64Array.from({ length: count * WIDTH }, () => gaussian(random));
}

function gradientOf(inputs: Float64Array, noise: number, random: () => number): Float64Array {
  const count = inputs.length / WIDTH;
  const deltas = Float64Array.from({ length: ROWS * count }, () => gaussian(random));
  return Float64Array.from({ length: ROWS * WIDTH }, (_, at) => {
    const [row, col] = [Math.floor(at / WIDTH), at % WIDTH];
    let sum = 0;
    for (let own = 0; own < count; own++) {
      sum += deltas[row * count + own]! * inputs[own * WIDTH + col]!;
    }
    return sum + noise * gaussian(random);
  });
}

describe("the space of a layer's inputs", () => {
  it.each([0, 1e-6, 1e-3])('holds the inputs and nothing else, at noise %s', async (noise) => {
    const random = generator(1);
    const inputs = randomRows(11, random);
    const space = (await inputSpaceOf(gradientOf(inputs, noise, random), WIDTH, 2 ** -24, plainProduct, pause))!;
    expect(space.rank).toBe(11);
    const own = await distancesTo(space, inputs, plainProduct);
    expect(own.every(isInside)).toBe(true);
    const others = await distancesTo(space, randomRows(200, random), plainProduct);
    expect(others.some(isInside)).toBe(false);
    expect(Math.min(...others.map(({ value }) => value))).toBeGreaterThan(0.5);
  });

  it('expects the distances that noise leaves', async () => {
    const random = generator(2);
    const inputs = randomRows(8, random);
    const space = (await inputSpaceOf(gradientOf(inputs, 1e-4, random), WIDTH, 2 ** -24, plainProduct, pause))!;
    const own = await distancesTo(space, inputs, plainProduct);
    const ratio = own.reduce((sum, { value, expected }) => sum + value / expected, 0) / own.length;
    expect(ratio).toBeGreaterThan(0.7);
    // Directions are taken from single rows, which carry more of it than their mean does.
    expect(ratio).toBeLessThan(3);
  });

  it('is none where as many inputs as numbers in each fill it', async () => {
    const random = generator(3);
    const gradient = gradientOf(randomRows(WIDTH, random), 0, random);
    expect(await inputSpaceOf(gradient, WIDTH, 2 ** -24, plainProduct, pause)).toBeUndefined();
  });
});
