import { describe, expect, it } from 'vitest';
import { leastSquaresSteps } from '../../../src/recovery/least-squares-by-steps.js';
import { type Matrix, multiply, multiplyTransposed } from '../../../src/recovery/linear-algebra.js';
import { generator } from '../../../src/recovery/paper-method.js';
import { gaussian } from '../../synthetic-head.js';

const random = generator(3);
const normal = (length: number): Float64Array => Float64Array.from({ length }, () => gaussian(random));

async function steps(a: Matrix, y: Float64Array, count: number): Promise<Float64Array[]> {
  const map = {
    forward: (x: Float64Array) => Promise.resolve(multiply(a, x)),
    back: (z: Float64Array) => Promise.resolve(multiplyTransposed(a, z)),
  };
  const found: Float64Array[] = [];
  for await (const x of leastSquaresSteps(map, y, count)) {
    found.push(x.slice());
  }
  return found;
}

describe('least squares by steps', () => {
  it('end at the solution after as many steps as there are unknowns, and come nearer with each', async () => {
    const a = { rows: 9, cols: 4, data: normal(36) };
    const truth = normal(4);
    const found = await steps(a, multiply(a, truth), 4);
    found[3]!.forEach((value, at) => {
      expect(value).toBeCloseTo(truth[at]!, 9);
    });
    const misfits = found.map((x) =>
      Math.hypot(
        ...multiply(
          a,
          x.map((value, at) => value - truth[at]!),
        ),
      ),
    );
    expect([...misfits].sort((one, other) => other - one)).toEqual(misfits);
  });

  it('take no step where the target is orthogonal to all, or zero', async () => {
    const a = { rows: 2, cols: 1, data: Float64Array.of(1, 0) };
    expect(await steps(a, Float64Array.of(0, 3), 5)).toEqual([]);
    expect(await steps(a, Float64Array.of(0, 0), 5)).toEqual([]);
  });
});
