import { describe, expect, it } from 'vitest';
import { fitGain } from '../../../../src/recovery/inversion/gain.js';
import { hashed } from '../../../networks.js';

/** Gradients that shrink with the deviation as those below batch normalisation do: the size shows in epsilon only. */

const EPSILON = 1e-2;
const shape = hashed(64, 3);
const slopes = [hashed(40, 5), hashed(30, 7), hashed(50, 9)];
const go = (): Promise<void> => Promise.resolve();

function gradientsAt(input: Float64Array): Promise<Float64Array[]> {
  return Promise.resolve(
    slopes.map((own, tensor) => {
      const variance = input.reduce((sum, value) => sum + value * value, 0) / (input.length * (tensor + 1));
      return own.map((value, at) => value * (1 - (at % 3) * (EPSILON / (variance + EPSILON))));
    }),
  );
}

describe('the size of an input that normalisation hides', () => {
  it.each([0.3, 0.9, 2.5])('is found from %s times it, with an error that says so', async (off) => {
    const captured = await gradientsAt(shape);
    const found = await fitGain(
      gradientsAt,
      captured,
      shape.map((own) => own * off),
      go,
    );
    expect(found.factor * off).toBeCloseTo(1, 4);
    expect(found.error).toBeLessThan(1e-3);
  });

  it('is uncertain by as much as other errors could look like it', async () => {
    const captured = await gradientsAt(shape);
    const wrong = captured.map((own, tensor) =>
      own.map((value, at) => value + 0.01 * hashed(own.length, 11 + tensor)[at]!),
    );
    const found = await fitGain(gradientsAt, wrong, shape, go);
    expect(Math.abs(found.factor - 1)).toBeLessThan(found.error);
    expect(found.error).toBeGreaterThan(0.02);
  });

  it('stays open where nothing depends on it', async () => {
    const captured = await gradientsAt(shape);
    const found = await fitGain(() => Promise.resolve(captured), captured, shape, go);
    expect(found).toEqual({ factor: 1, error: Infinity });
  });
});
