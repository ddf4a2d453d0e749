import { encodePicture, isImage } from '../../formats/write-picture.js';
import type { ReconstructionRequest } from '../../protocol/audit-request.js';

/** Pictures of where a reconstruction stands, for the panel. */

/** Previews larger than this would slow the panel down. */
const MAX_PREVIEW_BYTES = 200_000;

export function preview(
  x: Float64Array,
  shape: readonly number[],
  { normalisation }: ReconstructionRequest,
): string | null {
  if (!isImage(shape)) {
    return null;
  }
  return toBase64(encodePicture(x, shape, normalisation ?? undefined));
}

export function toBase64(png: Uint8Array): string | null {
  return png.length <= MAX_PREVIEW_BYTES ? Buffer.from(png).toString('base64') : null;
}
