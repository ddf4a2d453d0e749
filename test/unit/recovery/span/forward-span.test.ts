import { describe, expect, it } from 'vitest';
import { freePixels } from '../../../../src/recovery/span/forward-span.js';

const geometryOf = (size: number, kernel: number, stride: number, pad: number) => {
  const output = Math.floor((size + 2 * pad - kernel) / stride) + 1;
  return {
    input: [2, size, size] as const,
    kernel: [kernel, kernel] as const,
    output: [output, output] as const,
    geometry: { strides: [stride, stride], pads: [pad, pad, pad, pad], dilations: [1, 1], groups: 1 } as const,
  };
};

describe('pixels whose common constant no difference of patches shows', () => {
  it('padding shows all of them at stride one', () => {
    expect(freePixels(geometryOf(4, 3, 1, 1))).toEqual([]);
  });

  it('strides leave those that only the centre of the kernel sees', () => {
    expect(freePixels(geometryOf(4, 3, 2, 1))).toEqual([[0, 2, 8, 10]]);
  });

  it('without padding every pixel that is seen is one of them', () => {
    expect(freePixels(geometryOf(4, 3, 1, 0))).toEqual([Array.from({ length: 16 }, (_, at) => at)]);
  });
});
