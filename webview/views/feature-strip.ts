import { type TemplateResult, html } from 'lit';
import { type Ref, createRef, ref } from 'lit/directives/ref.js';
import type { FeatureStatistics } from '../../src/protocol/report.js';
import { percent } from '../../src/words/label-words.js';
import { short } from '../../src/words/report-words.js';

/** The feature as a heat strip with its statistics. */

export function featureStrip(feature: FeatureStatistics): TemplateResult {
  const canvas: Ref<HTMLCanvasElement> = createRef();
  // Drawn after lit has put the canvas in place.
  queueMicrotask(() => {
    if (canvas.value) {
      drawStrip(canvas.value, feature);
    }
  });
  const averaged = feature.preview.length < feature.length ? `, averaged to ${feature.preview.length} cells` : '';
  return html`
    <canvas
      class="strip"
      ${ref(canvas)}
      width=${feature.preview.length}
      height="1"
      role="img"
      aria-label=${`Feature of ${feature.length} numbers from ${short(feature.min)} to ${short(feature.max)}`}
    ></canvas>
    <div class="strip-scale">
      <span>${short(feature.min)}</span><span>feature 0 to ${feature.length - 1}${averaged}</span
      ><span>${short(feature.max)}</span>
    </div>
    <dl class="facts">
      ${fact('numbers', String(feature.length))} ${fact('mean', short(feature.mean))}
      ${fact('norm', short(feature.norm))} ${fact('zero', percent(feature.zeroShare))}
    </dl>
  `;
}

export function fact(name: string, value: string): TemplateResult {
  return html`<div>
    <dt>${name}</dt>
    <dd>${value}</dd>
  </div>`;
}

function drawStrip(canvas: HTMLCanvasElement, { preview, min, max }: FeatureStatistics): void {
  const context = canvas.getContext('2d');
  if (!context) {
    return;
  }
  const image = context.createImageData(preview.length, 1);
  const symmetric = min < 0;
  const reach = Math.max(Math.abs(min), Math.abs(max)) || 1;
  preview.forEach((value, index) => {
    const [red, green, blue] = symmetric ? diverging(value / reach) : sequential((value - min) / (max - min || 1));
    image.data.set([red, green, blue, 255], index * 4);
  });
  context.putImageData(image, 0, 0);
}

type Colour = [number, number, number];

/** Dark blue over green to yellow, even in lightness, so that it also reads without colour vision. */
const SEQUENTIAL: Colour[] = [
  [68, 1, 84],
  [59, 82, 139],
  [33, 145, 140],
  [94, 201, 98],
  [253, 231, 37],
];
const DIVERGING: Colour[] = [
  [33, 102, 172],
  [146, 197, 222],
  [247, 247, 247],
  [244, 165, 130],
  [178, 24, 43],
];

function sequential(share: number): Colour {
  return interpolate(SEQUENTIAL, share);
}

/** @param value -1 to 1 */
function diverging(value: number): Colour {
  return interpolate(DIVERGING, (value + 1) / 2);
}

function interpolate(stops: Colour[], share: number): Colour {
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const low = stops[Math.floor(at)] ?? [0, 0, 0];
  const high = stops[Math.ceil(at)] ?? low;
  const weight = at - Math.floor(at);
  return [0, 1, 2].map((channel) =>
    Math.round((low[channel] ?? 0) * (1 - weight) + (high[channel] ?? 0) * weight),
  ) as Colour;
}
