import { type TemplateResult, html, nothing } from 'lit';
import { type Ref, createRef, ref } from 'lit/directives/ref.js';
import type { PreviewPicture } from '../../src/protocol/summary-messages.js';
import { asPicture, decodeFloats, drawPicture, rangeOf } from './picture.js';

/**
 * A recovered input at the size of a tile.
 *
 * @param label undefined where what holds it says the same
 */
export function previewPicture({ shape, values, normalisation }: PreviewPicture, label?: string): TemplateResult {
  const canvas: Ref<HTMLCanvasElement> = createRef();
  const drawn = asPicture(shape, decodeFloats(values));
  const [, height = 1, width = 1] = drawn.shape;
  queueMicrotask(() => {
    if (canvas.value) {
      drawPicture(canvas.value, drawn, {
        normalisation: normalisation ?? undefined,
        channel: -1,
        zoom: 1,
        range: rangeOf(drawn.values),
      });
    }
  });
  return html`<canvas
    ${ref(canvas)}
    width=${width}
    height=${height}
    role=${label === undefined ? nothing : 'img'}
    aria-label=${label ?? nothing}
    aria-hidden=${label === undefined ? 'true' : nothing}
  ></canvas>`;
}
