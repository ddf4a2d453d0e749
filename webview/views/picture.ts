import { type TemplateResult, html, nothing } from 'lit';
import { type Ref, createRef, ref } from 'lit/directives/ref.js';
import type { Normalisation } from '../../src/protocol/normalisations.js';

/** Float images on canvases: normalisation undone, one channel or all, without smoothing. */

export interface Picture {
  /** channels, height, width */
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

export interface PictureView {
  /** Undefined stretches the picture's own range. */
  readonly normalisation: Normalisation | undefined;
  /** -1 for all together. */
  readonly channel: number;
  readonly zoom: number;
  /** Range to stretch instead of the picture's own, so that two pictures compare. */
  readonly range?: readonly [number, number];
}

/** Pixels of a picture's longer side, of previews too (panel.css). */
const SHOWN_SIZE = 256;

/** @param shape channels, height, width */
export function fittingZoom([, height = 1, width = 1]: readonly number[]): number {
  return SHOWN_SIZE / Math.max(height, width, 1);
}

/** True for what can be drawn as a picture; anything else becomes a heat map. */
export function isPicture(shape: readonly number[]): boolean {
  return shape.length === 3 && (shape[1] ?? 0) > 1 && (shape[2] ?? 0) > 1;
}

/** Vectors are folded into a nearly square map. */
export function asPicture(shape: readonly number[], values: Float32Array): Picture {
  if (isPicture(shape)) {
    return { shape, values };
  }
  const width = Math.ceil(Math.sqrt(values.length));
  const height = Math.ceil(values.length / width);
  const padded = new Float32Array(width * height).fill(NaN);
  padded.set(values);
  return { shape: [1, height, width], values: padded };
}

export function rangeOf(values: Float32Array): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (Number.isFinite(value)) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return [low, high];
}

export function pictureFigure(picture: Picture, view: PictureView, caption: string, id: string): TemplateResult {
  const canvas: Ref<HTMLCanvasElement> = createRef();
  const [, height = 1, width = 1] = picture.shape;
  queueMicrotask(() => {
    if (canvas.value) {
      drawPicture(canvas.value, picture, view);
    }
  });
  const isLarge = Math.max(height, width) * view.zoom > SHOWN_SIZE;
  return html`<figure class="picture ${isLarge ? 'picture-large' : ''}">
    <div class="picture-frame" tabindex="0" role="group" aria-label=${`${caption}, scrollable`}>
      <canvas
        ${ref(canvas)}
        id=${id}
        width=${width}
        height=${height}
        style=${`width: ${width * view.zoom}px; height: ${height * view.zoom}px`}
        role="img"
        aria-label=${caption}
      ></canvas>
    </div>
    <figcaption>${caption}</figcaption>
  </figure>`;
}

/**
 * All channels of a picture, a pixel a number; its size is the page's.
 *
 * @param label undefined where what holds the picture says the same
 */
export function smallPicture(
  picture: Picture,
  normalisation: PictureView['normalisation'],
  { label, className }: { readonly label?: string | undefined; readonly className?: string },
): TemplateResult {
  const canvas: Ref<HTMLCanvasElement> = createRef();
  const [, height = 1, width = 1] = picture.shape;
  queueMicrotask(() => {
    if (canvas.value) {
      drawPicture(canvas.value, picture, { normalisation, channel: -1, zoom: 1, range: rangeOf(picture.values) });
    }
  });
  return html`<canvas
    ${ref(canvas)}
    class=${className ?? nothing}
    width=${width}
    height=${height}
    role=${label === undefined ? nothing : 'img'}
    aria-label=${label ?? nothing}
    aria-hidden=${label === undefined ? 'true' : nothing}
  ></canvas>`;
}

/** Fills a canvas of the picture's own size. */
function drawPicture(canvas: HTMLCanvasElement, { shape, values }: Picture, view: PictureView): void {
  const context = canvas.getContext('2d');
  const [channels = 1, height = 1, width = 1] = shape;
  if (!context) {
    return;
  }
  const plane = height * width;
  const [low, high] = view.range ?? rangeOf(values);
  const colours = view.channel < 0 && channels === 3;
  const grey = Math.min(Math.max(view.channel, 0), channels - 1);
  const image = context.createImageData(width, height);
  for (let at = 0; at < plane; at++) {
    for (let part = 0; part < 3; part++) {
      const channel = colours ? part : grey;
      const value = values[channel * plane + at] ?? NaN;
      const mean = view.normalisation?.mean[channel];
      const std = view.normalisation?.std[channel];
      const share =
        mean !== undefined && std !== undefined ? value * std + mean : (value - low) / (high > low ? high - low : 1);
      image.data[4 * at + part] = 255 * share;
    }
    image.data[4 * at + 3] = Number.isNaN(values[at] ?? NaN) ? 0 : 255;
  }
  context.putImageData(image, 0, 0);
}
