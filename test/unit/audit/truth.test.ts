import { describe, expect, it } from 'vitest';
import { compareWithTruth } from '../../../src/audit/truth.js';

/** Two samples of one class: only what was reconstructed tells which of the true ones each is. */
const labels = [
  [0, 1],
  [0, 1],
];
const image = Float64Array.of(1, 2, 3, 4, 0, -1, 2, 0);
const samples = labels.map((probabilities) => ({ label: { probabilities } }));

describe('samples of one label', () => {
  it.each([
    ['in the order of the truth', [Float64Array.of(2, 4, 6, 8.1), Float64Array.of(0, -2, 4, 0)], [0, 1]],
    ['the other way round', [Float64Array.of(0, -2, 4.1, 0), Float64Array.of(2, 4, 6, 8)], [1, 0]],
  ])('are compared with the true inputs that theirs resemble, whatever their size: %s', (_, inputs, rows) => {
    const compared = compareWithTruth(
      { path: 'truth.json', labels, feature: undefined, image },
      samples,
      [],
      inputs,
      null,
    );
    expect(compared.samples.map(({ truthRow }) => truthRow)).toEqual(rows);
  });
});
