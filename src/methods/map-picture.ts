import { mosaicOf } from '../formats/write-picture.js';
import type { PictureDetail } from '../protocol/detail.js';
import type { NamedArray } from './method.js';

/**
 * A hidden layer's channels as one picture, and the array that it is drawn from.
 *
 * @param values channels x rows x columns
 */
export function mapPicture(
  name: string,
  title: string,
  values: Float64Array,
  shape: readonly number[],
): { detail: PictureDetail; array: NamedArray } {
  const mosaic = mosaicOf(values, shape);
  return {
    array: { name, shape: mosaic.shape, data: mosaic.data },
    detail: {
      type: 'picture',
      title: `${title}: ${shape.join(' x ')}`,
      shape: [...mosaic.shape],
      file: `${name}.npy`,
      normalisation: { mean: [0], std: [1] },
    },
  };
}
