import { describe, expect, it } from 'vitest';
import { type PatchGeometry, visitPatches } from '../../../../src/graph/patches.js';
import { plainProduct } from '../../../../src/recovery/cholesky.js';
import { generator } from '../../../../src/recovery/paper-method.js';
import { bringToCommonSize } from '../../../../src/recovery/span/common-size.js';
import { freePixels } from '../../../../src/recovery/span/forward-span.js';
import { rowSpaceOf } from '../../../../src/recovery/span/row-space.js';
import { relativeError } from '../../../networks.js';

/** Weight gradients below a normalisation over the batch: every row of delta sums to zero over samples and positions. */

const GEOMETRIES: readonly (readonly [string, PatchGeometry])[] = (
  [
    ['stride one', 1],
    ['stride two, constants on pixels that only one tap sees', 2],
  ] as const
).map(([name, stride]) => [
  name,
  {
    input: [5, 4, 4],
    kernel: [3, 3],
    output: [4 / stride, 4 / stride],
    geometry: { strides: [stride, stride], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 },
  },
]);

async function problemOf(geometry: PatchGeometry, batch: number, filters: number) {
  const random = generator(4);
  const [channels, height, width] = geometry.input;
  const size = channels * height * width;
  const columns = channels * 9;
  const positions = geometry.output[0] * geometry.output[1];
  const truth = Array.from({ length: batch }, () =>
    Float64Array.from({ length: size }, () => Math.max(random() - 0.4, 0)),
  );
  const gradient = new Float64Array(filters * columns);
  for (let o = 0; o < filters; o++) {
    const delta = Float64Array.from({ length: batch * positions }, () => random() - 0.5);
    const mean = delta.reduce((sum, own) => sum + own, 0) / delta.length;
    truth.forEach((sample, b) => {
      visitPatches(geometry, (column, position, pixel) => {
        gradient[o * columns + column]! += (delta[b * positions + position]! - mean) * sample[pixel]!;
      });
    });
  }
  const rowSpace = await rowSpaceOf(gradient, filters, columns, 1e-14, filters, plainProduct, () => Promise.resolve());
  if (!rowSpace.basis) {
    throw new Error('no rank');
  }
  return { truth, rowSpace };
}

describe('inputs found one by one', () => {
  it.each(GEOMETRIES)('come to one size: %s', async (_, geometry) => {
    const { truth, rowSpace } = await problemOf(geometry, 2, 40);
    const free = freePixels(geometry);
    const found = truth.map((own, b) => own.map((value) => value * (b + 1.7)));
    // Constants that a single sample's row space leaves open.
    const plane = geometry.input[1] * geometry.input[2];
    free.flat().forEach((pixel) => {
      for (let c = 0; c < geometry.input[0]; c++) {
        found[1]![c * plane + pixel]! += c - 1.5;
      }
    });
    expect(await bringToCommonSize(found, rowSpace, geometry, free, plainProduct)).toBe(true);
    expect(
      relativeError(
        found[1]!,
        truth[1]!.map((value) => 1.7 * value),
      ),
    ).toBeLessThan(1e-8);
  });

  it('of another batch have none', async () => {
    const [, geometry] = GEOMETRIES[0]!;
    const { truth, rowSpace } = await problemOf(geometry, 2, 40);
    const other = Float64Array.from(truth[1]!).reverse();
    expect(await bringToCommonSize([truth[0]!, other], rowSpace, geometry, [], plainProduct)).toBe(false);
  });
});
