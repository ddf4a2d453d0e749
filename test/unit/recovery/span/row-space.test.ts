import { describe, expect, it } from 'vitest';
import { plainProduct } from '../../../../src/recovery/cholesky.js';
import { gaussian } from '../../../../src/recovery/gaussian.js';
import { generator } from '../../../../src/recovery/paper-method.js';
import { rowSpaceOf } from '../../../../src/recovery/span/row-space.js';
import { symmetricEigen } from '../../../../src/recovery/symmetric-eigen.js';
import { symmetricEigenvalues } from '../../../../src/recovery/symmetric-eigenvalues.js';
import { dot } from '../../../../src/recovery/vectors.js';

const COLS = 160;
const ERROR = 2 ** -24;

function random(count: number, seed: number): Float64Array {
  const own = generator(seed);
  return Float64Array.from({ length: count }, () => gaussian(own));
}

/** rows x COLS of a rank, and independent noise of this size per number. */
async function gradientOf(
  rows: number,
  rank: number,
  noise: number,
): Promise<{ gradient: Float64Array; inner: Float64Array }> {
  const inner = random(rank * COLS, 2);
  const turned = Float64Array.from(
    { length: COLS * rank },
    (_, at) => inner[(at % rank) * COLS + Math.floor(at / rank)]!,
  );
  const gradient = await plainProduct(random(rows * rank, 1), turned, rows, COLS, rank);
  const off = random(gradient.length, 3);
  return { gradient: gradient.map((own, at) => Math.fround(own + noise * off[at]!)), inner };
}

describe('the row space of a gradient', () => {
  it.each([
    ['few directions', 20, 0],
    ['many', 100, 0],
    ['many beside noise that the numbers do not show', 100, 1e-4],
  ])('holds what its rows are made of: %s', async (_, rank, noise) => {
    const { gradient, inner } = await gradientOf(128, rank, noise);
    const found = await rowSpaceOf(gradient, 128, COLS, ERROR, 128, plainProduct, () => Promise.resolve());
    expect(found.rank).toBe(rank);
    for (let at = 0; at < 3; at++) {
      const own = inner.subarray(at * COLS, (at + 1) * COLS);
      let inside = 0;
      for (let row = 0; row < rank; row++) {
        inside += dot(own, found.basis!.subarray(row * COLS, (row + 1) * COLS)) ** 2;
      }
      expect(1 - inside / dot(own, own)).toBeLessThan(noise === 0 ? 1e-10 : 1e-5);
    }
  });

  it('shows through noise of one size that drowns weak rows, some of which are all but zero', async () => {
    const { gradient } = await gradientOf(128, 20, 0);
    const off = random(gradient.length, 3);
    const drowned = gradient.map((own, at) => {
      const row = Math.floor(at / COLS);
      return row < 120 ? own * 10 ** -(row / 24) + 1e-3 * off[at]! : at % COLS === row ? 1e-12 : 0;
    });
    const found = await rowSpaceOf(drowned, 128, COLS, ERROR, 128, plainProduct, () => Promise.resolve());
    expect(found.rank).toBe(20);
    expect(found.basis).toHaveLength(20 * COLS);
  });

  it('is of no more directions than there are beside rows of nothing but noise, which are too weak to be seen beside the others', async () => {
    const { gradient } = await gradientOf(128, 20, 0);
    const off = random(gradient.length, 3);
    // Six orders below the strong rows: as noise of a millionth of the norm is on a network with many silent channels.
    const noisy = gradient.map((own, at) => (Math.floor(at / COLS) < 100 ? own : 0) + 1e-7 * off[at]!);
    const found = await rowSpaceOf(noisy, 128, COLS, ERROR, 128, plainProduct, () => Promise.resolve());
    expect(found.rank).toBe(20);
    expect(found.basis).toHaveLength(20 * COLS);
    expect(found.gap).toBeGreaterThan(100);
  });

  it('is looked for among the rows as they are where its number of directions cannot be', async () => {
    const { gradient } = await gradientOf(128, 20, 0);
    const off = random(gradient.length, 3);
    // Too few to show by their lengths.
    const noisy = gradient.map((own, at) => (Math.floor(at / COLS) < 126 ? own : 0) + 1e-7 * off[at]!);
    const found = (canBe?: (rank: number) => boolean): ReturnType<typeof rowSpaceOf> =>
      rowSpaceOf(noisy, 128, COLS, ERROR, 128, plainProduct, () => Promise.resolve(), canBe);
    expect((await found()).rank).toBe(22);
    expect((await found((rank) => rank % 4 === 0)).rank).toBe(20);
    expect((await found((rank) => rank % 7 === 0)).rank).toBe(22);
  });

  it('is none where all is noise, or where there are more directions than are of use', async () => {
    const { gradient } = await gradientOf(128, 100, 0);
    const noisy = random(gradient.length, 4);
    expect(await rowSpaceOf(noisy, 128, COLS, ERROR, 128, plainProduct, () => Promise.resolve())).toMatchObject({
      basis: undefined,
      rows: 128,
    });
    let found = 0;
    const limited = await rowSpaceOf(gradient, 128, COLS, ERROR, 30, plainProduct, (count) => {
      found = Math.max(found, count);
      return Promise.resolve();
    });
    expect(limited).toMatchObject({ basis: undefined, rank: 31 });
    expect(found).toBe(31);
  });
});

describe('eigenvalues without vectors', () => {
  it.each([1, 2, 3, 40])('are those of rotations: %i rows', async (size) => {
    const half = random(size * size, 5);
    const matrix = await plainProduct(half, half, size, size, size);
    const { values } = symmetricEigen(matrix, size);
    const own = symmetricEigenvalues(matrix.slice(), size);
    own.forEach((value, at) => {
      expect(Math.abs(value - values[at]!)).toBeLessThan(1e-13 * values[size - 1]!);
    });
  });

  it('of a matrix with zeros and equal ones', () => {
    const matrix = Float64Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 1, 2);
    const own = symmetricEigenvalues(matrix, 4);
    [0, 1, 2, 3].forEach((value, at) => {
      expect(own[at]).toBeCloseTo(value, 13);
    });
  });
});
