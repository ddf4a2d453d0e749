import {
  type Grid,
  type PatchShape,
  gridOf,
  imageOf,
  isOverlapping,
  roughness,
} from '../../recovery/vit/patch-image.js';
import type { RecoveredPatches } from './recover-patches.js';

/** The image that patches make. */
export interface PatchPicture {
  /** Channels, height, width. */
  readonly shape: readonly [number, number, number];
  /** Flat, in the network's normalised units. */
  readonly values: Float64Array;
}

/**
 * @param input channels, height, width of the network's input, when known
 * @param isGuess takes patches that may overlap, as far as their noise lets one see, for such that do not
 * @returns undefined where the patches' size or their arrangement is not known, or they overlap
 */
export function pictureOfPatches(
  recovered: RecoveredPatches,
  input: readonly number[] | undefined,
  isGuess = false,
): PatchPicture | undefined {
  const { patches, expectedError } = recovered.solved;
  const pictures = shapesOf(recovered, input).flatMap((shape): PatchPicture[] => {
    const grid = gridOf(recovered.patches, shape, input);
    return grid && (isGuess || !isOverlapping(patches, shape, grid, expectedError))
      ? [{ shape: sizeOf(shape, grid), values: imageOf(patches, shape, grid) }]
      : [];
  });
  const rough = ({ values, shape }: PatchPicture): number => roughness(values, shape[2]);
  return pictures.sort((one, other) => rough(one) - rough(other))[0];
}

function sizeOf({ channels, height, width }: PatchShape, { rows, cols }: Grid): PatchPicture['shape'] {
  return [channels, rows * height, cols * width];
}

/** A linear layer does not say how its numbers are laid out: of two ways, the image tells. */
function shapesOf(
  { kernel, numbers, widthLast }: RecoveredPatches,
  input: readonly number[] | undefined,
): readonly PatchShape[] {
  if (kernel) {
    const [channels, height, width] = kernel;
    return [{ channels, height, width, channelsLast: widthLast }];
  }
  const candidates = input?.length === 3 ? input.slice(0, 1) : [3, 1];
  const channels = candidates.find((own) => Number.isInteger(Math.sqrt(numbers / own)));
  if (channels === undefined) {
    return [];
  }
  const side = Math.sqrt(numbers / channels);
  return [true, false].map((channelsLast) => ({ channels, height: side, width: side, channelsLast }));
}
