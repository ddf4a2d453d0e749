import { describe, expect, it } from 'vitest';
import { logMillsRatio, logNormal } from '../../../src/recovery/log-probability.js';

describe('the logarithm of the normal distribution', () => {
  // scipy.special.log_ndtr of SciPy 1.17.
  it.each([
    [-40, -804.6084420137539],
    [-12, -75.41067300156881],
    [-6, -20.73676894997471],
    [-3, -6.60772622151035],
    [-2.8284, -6.058003704785817],
    [-2.82, -6.031793965384981],
    [-1, -1.8410216450092634],
    [-0.1, -0.7761545927302733],
    [0, -0.6931471805599453],
    [0.5, -0.36894641528865635],
    [2, -0.023012909328963476],
    [5, -2.8665161296376294e-7],
    [8, -6.220960574271742e-16],
    [20, -2.7536241186061556e-89],
  ])('at %d is %d', (z, expected) => {
    expect(logNormal(z) / expected).toBeCloseTo(1, 12);
  });

  it('has a tail that stays finite without its exponential', () => {
    // 1 / (u sqrt(2 pi)) for large u.
    expect(logMillsRatio(1e6)).toBeCloseTo(-Math.log(1e6 * Math.sqrt(2 * Math.PI)), 9);
  });
});
