import { describe, expect, it } from 'vitest';
import { convolveFilter } from '../../../../src/graph/convolution.js';
import { plainProduct } from '../../../../src/recovery/cholesky.js';
import { gaussian } from '../../../../src/recovery/gaussian.js';
import { generator } from '../../../../src/recovery/paper-method.js';
import { CancelledError } from '../../../../src/protocol/errors.js';
import { type Span, type SpanProblem, spanOf } from '../../../../src/recovery/span/span.js';
import { unplacedSpan } from '../../../../src/recovery/span/unplaced-span.js';
import { unmix } from '../../../../src/recovery/span/unmix.js';
import { symmetricEigen } from '../../../../src/recovery/symmetric-eigen.js';
import { dot, norm } from '../../../../src/recovery/vectors.js';
import { hashed } from '../../../networks.js';

/** Gradients of one convolution in float32, whose sparse non-negative inputs are known here. */

const go = (): Promise<void> => Promise.resolve();

interface Case {
  readonly problem: SpanProblem;
  /** One input per sample. */
  readonly truth: readonly Float64Array[];
}

function layer({
  batch = 1,
  channels = 12,
  side = 4,
  filters = 64,
  stride = 1,
  padding = 1,
  centred = false,
  round = Math.fround,
  error = 2 ** -24,
}): Case {
  const random = generator(3);
  const geometry = {
    strides: [stride, stride],
    pads: [padding, padding, padding, padding],
    dilations: [1, 1],
    groups: 1,
  } as const;
  const out = Math.floor((side + 2 * padding - 3) / stride) + 1;
  const size = channels * side * side;
  const truth = Array.from({ length: batch }, () =>
    Float64Array.from({ length: size }, () => Math.max(0, gaussian(random))),
  );
  const x = new Float64Array(batch * size);
  truth.forEach((own, at) => {
    x.set(own, at * size);
  });
  const plane = out * out;
  const delta = Float64Array.from({ length: batch * filters * plane }, () => (random() < 0.5 ? 0 : gaussian(random)));
  if (centred) {
    for (let o = 0; o < filters; o++) {
      let sum = 0;
      const visit = (change: (at: number) => void): void => {
        for (let b = 0; b < batch; b++) {
          for (let p = 0; p < plane; p++) {
            change((b * filters + o) * plane + p);
          }
        }
      };
      visit((at) => (sum += delta[at]!));
      visit((at) => (delta[at]! -= sum / (batch * plane)));
    }
  }
  const gradient = convolveFilter(x, [batch, channels, side, side], delta, [batch, filters, out, out], geometry, [
    filters,
    channels,
    3,
    3,
  ]).map(round);
  return {
    truth,
    problem: {
      gradient,
      filters,
      error,
      centred,
      input: [channels, side, side],
      kernel: [3, 3],
      output: [out, out],
      geometry,
    },
  };
}

const solve = (problem: SpanProblem): Promise<Span | string> => spanOf(problem, plainProduct, generator(1), go);

/** Sine of the angle between a vector and the space of others. */
function outside(vector: Float64Array, others: readonly Float64Array[]): number {
  const rest = vector.slice();
  const basis: Float64Array[] = [];
  const remove = (from: Float64Array, direction: Float64Array): void => {
    const share = dot(from, direction);
    from.forEach((_, at) => (from[at]! -= share * direction[at]!));
  };
  for (const other of others) {
    const own = other.slice();
    basis.forEach((done) => {
      remove(own, done);
    });
    const length = norm(own);
    basis.push(own.map((value) => value / length));
  }
  basis.forEach((direction) => {
    remove(rest, direction);
  });
  return norm(rest) / norm(vector);
}

describe("a convolution's gradient alone", () => {
  it.each([
    ['one sample', {}],
    ['a batch of three', { batch: 3 }],
    ['one sample below batch normalisation in train mode', { centred: true }],
    ['a batch of two below batch normalisation in train mode', { batch: 2, centred: true }],
  ])('holds its input: %s', async (_, own) => {
    const { problem, truth } = layer(own);
    const span = await solve(problem);
    if (typeof span === 'string') {
      throw new Error(span);
    }
    expect(span.batch).toBe(truth.length);
    expect(span.rowSpace.rank).toBe(truth.length * 16 - Number(problem.centred));
    expect(span.eigenvalues[1] / span.eigenvalues[0]).toBeGreaterThan(1e6);
    truth.forEach((input) => {
      expect(outside(input, span.maps)).toBeLessThan(3e-6);
    });
    const unmixed = await unmix(span.maps, generator(2), go);
    truth.forEach((input) => {
      const nearest = Math.min(...unmixed!.sources.map((source) => outside(input, [source])));
      expect(nearest).toBeLessThan(1e-5);
    });
    unmixed!.sources.forEach((source) => {
      expect(source.reduce((sum, value) => sum + value, 0)).toBeGreaterThan(0);
    });
  });

  it('is refused where it does not: random numbers, too few channels, one pixel, groups', async () => {
    const { problem } = layer({});
    expect(await solve({ ...problem, gradient: hashed(problem.gradient.length, 5) })).toMatch(/no clear rank/);
    expect(await solve(layer({ filters: 16 }).problem)).toMatch(/more channels than positions/);
    expect(await solve(layer({ batch: 4 }).problem)).toMatch(/no clear rank/);
    expect(
      await solve({ ...problem, kernel: [1, 1], gradient: problem.gradient.slice(0, problem.filters * 12) }),
    ).toMatch(/do not overlap/);
    await expect(solve({ ...problem, geometry: { ...problem.geometry, groups: 2 } })).rejects.toThrow(RangeError);
  });

  it('says at a stride that its patches do not settle the input', async () => {
    expect(await solve(layer({ side: 8, stride: 2 }).problem)).toMatch(/do not settle the input|no clear rank/);
  });

  it('gives less, and not more than it knows, where numbers were rounded coarsely', async () => {
    const bfloat = (value: number): number => {
      const bits = new Uint32Array(Float32Array.of(value).buffer);
      bits[0] = (bits[0]! + 0x8000) & 0xffff0000;
      return new Float32Array(bits.buffer)[0]!;
    };
    const { problem, truth } = layer({ round: bfloat, error: 2 ** -9 });
    const span = await solve(problem);
    if (typeof span === 'string') {
      expect(span).toMatch(/rank|settle/);
    } else {
      expect(outside(truth[0]!, span.maps)).toBeLessThan(0.1);
      expect(span.eigenvalues[0]).toBeGreaterThan(1e-9);
    }
  });

  it('stops when asked', async () => {
    const { problem } = layer({});
    const stop = (): Promise<void> => Promise.reject(new CancelledError());
    await expect(spanOf(problem, plainProduct, generator(1), stop)).rejects.toThrow(CancelledError);
  });
});

describe("a convolution's gradient, and nothing of its place", () => {
  const unplaced = ({ gradient, filters, input: [channels], kernel, error }: SpanProblem, most = 5000) =>
    unplacedSpan(gradient, [filters, channels, ...kernel], error, most, plainProduct, generator(1), go);

  it.each([
    ['one sample', {}],
    ['a batch of three', { batch: 3 }],
    ['one sample without padding', { side: 6, padding: 0 }],
    ['a batch of two without padding', { side: 6, padding: 0, batch: 2 }],
    ['one sample below batch normalisation in train mode', { centred: true }],
    ['a batch of three below it', { batch: 3, centred: true }],
    ['a batch that could be one larger sample', { batch: 4, side: 3, channels: 24 }],
  ])('tells size and number of its inputs, and the inputs: %s', async (_, own) => {
    const { problem, truth } = layer(own);
    const found = await unplaced(problem);
    expect(found).toMatchObject({ input: problem.input, centred: problem.centred, span: { batch: truth.length } });
    truth.forEach((input) => {
      expect(outside(input, found!.span.maps)).toBeLessThan(3e-6);
    });
  });

  it('tells nothing of random numbers, of a product of few factors, of strides and of sizes that are too large', async () => {
    const { problem } = layer({});
    const random = hashed(problem.gradient.length, 5);
    expect(await unplaced({ ...problem, gradient: random })).toBeUndefined();
    const cols = problem.gradient.length / problem.filters;
    const lowRank = new Float64Array(problem.gradient.length);
    for (let factor = 0; factor < 16; factor++) {
      const [left, right] = [hashed(problem.filters, 10 + factor), hashed(cols, 50 + factor)];
      lowRank.forEach((_, at) => (lowRank[at]! += left[Math.floor(at / cols)]! * right[at % cols]!));
    }
    expect(await unplaced({ ...problem, gradient: lowRank })).toBeUndefined();
    expect(await unplaced(layer({ side: 8, stride: 2 }).problem)).toBeUndefined();
    expect(await unplaced(problem, 100)).toBeUndefined();
    // Kernels of even size, whose patches nothing pads alike.
    const even = hashed(64 * 4 * 16, 7);
    for (let row = 48; row < 64; row++) {
      even.copyWithin(row * 64, (row - 48) * 64, (row - 47) * 64);
    }
    const evenProblem = { ...problem, gradient: even, input: [4, 4, 4] as const, kernel: [4, 4] as const };
    expect(await unplaced(evenProblem)).toBeUndefined();
    // Differences alone leave a constant in every channel open.
    expect(await unplaced(layer({ side: 6, padding: 0, centred: true }).problem)).toBeUndefined();
  });
});

describe('mixtures of a larger batch', () => {
  it.each([
    [8, 0.5],
    [16, 0.5],
    [16, 0.3],
  ])('of %i sources, %f of them zero, are parted', async (count, share) => {
    const random = generator(count);
    const sources = Array.from({ length: count }, () =>
      Float64Array.from({ length: 1500 }, () => (random() < share ? 0 : Math.abs(gaussian(random)))),
    );
    const mixtures = Array.from({ length: count }, () => {
      const shares = sources.map(() => gaussian(random));
      return Float64Array.from({ length: 1500 }, (_, at) =>
        shares.reduce((sum, own, source) => sum + own * sources[source]![at]!, 0),
      );
    });
    const unmixed = await unmix(mixtures, generator(1), go);
    const nearest = unmixed!.sources.map((own) => {
      const cosines = sources.map((source) => dot(own, source) / (norm(own) * norm(source)));
      const best = Math.max(...cosines);
      expect(best).toBeGreaterThan(1 - 1e-6);
      return cosines.indexOf(best);
    });
    expect(new Set(nearest).size).toBe(count);
  });

  it('are given up where the search is stopped', async () => {
    const random = generator(3);
    const mixtures = Array.from({ length: 12 }, () => Float64Array.from({ length: 600 }, () => gaussian(random)));
    let asked = 0;
    const stopping = (): Promise<void> => (++asked > 50 ? Promise.reject(new CancelledError()) : Promise.resolve());
    await expect(unmix(mixtures, generator(1), stopping)).rejects.toThrow(CancelledError);
  });
});

describe('mixtures without zeros', () => {
  it('are not parted', async () => {
    const dense = [hashed(200, 1), hashed(200, 2), hashed(200, 3)];
    expect(await unmix(dense, generator(1), go)).toBeUndefined();
  });
});

describe('a small symmetric matrix', () => {
  it('has the eigenvalues of its trace and determinant, and orthonormal eigenvectors', () => {
    const { values, vectors } = symmetricEigen(Float64Array.of(2, 1, 1, 2), 2);
    expect(values[0]).toBeCloseTo(1, 14);
    expect(values[1]).toBeCloseTo(3, 14);
    expect(Math.abs(dot(vectors.slice(0, 2), vectors.slice(2)))).toBeLessThan(1e-15);
    expect(Math.abs(vectors[0]! + vectors[1]!)).toBeLessThan(1e-15);
  });
});
