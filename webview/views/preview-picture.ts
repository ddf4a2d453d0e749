import type { TemplateResult } from 'lit';
import type { PreviewPicture } from '../../src/protocol/summary-messages.js';
import { decodeFloats } from './decode.js';
import { asPicture, smallPicture } from './picture.js';

/**
 * A recovered input at the size of a tile.
 *
 * @param label undefined where what holds it says the same
 */
export function previewPicture({ shape, values, normalisation }: PreviewPicture, label?: string): TemplateResult {
  return smallPicture(asPicture(shape, decodeFloats(values)), normalisation ?? undefined, { label });
}
