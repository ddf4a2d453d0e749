/** Below this share of a step, a difference counts by its square: a corner would keep Adam from settling. */
const ROUNDED = 1e-3;

/**
 * Total variation, mean |dx| + mean |dy| over all samples (anisotropic), with its slope; zero for what is no image.
 *
 * @param images N x channels x height x width
 */
export function totalVariation(
  images: Float64Array,
  samples: number,
  shape: readonly number[],
): { readonly value: number; readonly slope: Float64Array } {
  const slope = new Float64Array(images.length);
  const [channels, height, width] = shape;
  if (shape.length !== 3 || channels === undefined || height === undefined || width === undefined) {
    return { value: 0, slope };
  }
  let value = 0;
  const add = (one: number, other: number, weight: number): void => {
    const difference = images[other]! - images[one]!;
    const length = Math.hypot(difference, ROUNDED);
    value += weight * (length - ROUNDED);
    slope[other]! += (weight * difference) / length;
    slope[one]! -= (weight * difference) / length;
  };
  const planes = samples * channels;
  for (let plane = 0; plane < planes; plane++) {
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const at = (plane * height + row) * width + column;
        if (column + 1 < width) {
          add(at, at + 1, 1 / (planes * height * (width - 1)));
        }
        if (row + 1 < height) {
          add(at, at + width, 1 / (planes * (height - 1) * width));
        }
      }
    }
  }
  return { value, slope };
}
