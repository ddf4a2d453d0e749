import { type TemplateResult, html, svg } from 'lit';
import { type Ref, createRef, ref } from 'lit/directives/ref.js';
import type { FeatureStatistics } from '../../src/protocol/report.js';
import { percent } from '../../src/words/label-words.js';
import { term } from '../ui/term.js';
import { short } from '../../src/words/report-words.js';

/** The feature as a heat strip with its axis, its colours and its statistics. */

/** What colours mean, the same for all features of a report: from zero up, or around zero where some are negative. */
export interface FeatureScale {
  readonly low: number;
  readonly high: number;
}

/** Numbers this small against the largest are rounding, and make no feature a signed one. */
const ROUNDING = 1e-3;

export function featureScaleOf(features: readonly FeatureStatistics[]): FeatureScale {
  const [least, most] = [Math.min(...features.map(({ min }) => min)), Math.max(...features.map(({ max }) => max))];
  const reach = Math.max(Math.abs(least), Math.abs(most)) || 1;
  return least < -ROUNDING * reach ? { low: -reach, high: reach } : { low: 0, high: reach };
}

export function featureStrip(feature: FeatureStatistics, scale: FeatureScale): TemplateResult {
  const canvas: Ref<HTMLCanvasElement> = createRef();
  // Drawn after lit has put the canvas in place.
  queueMicrotask(() => {
    if (canvas.value) {
      drawStrip(canvas.value, feature, scale);
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
    <div class="strip-scale"><span>0</span><span>position${averaged}</span><span>${feature.length - 1}</span></div>
    <div class="strip-scale palette">
      <span>activation</span><span>${short(scale.low)}</span>${palette(scale)}<span>${short(scale.high)}</span>
    </div>
    <dl class="facts">
      ${fact('from', short(feature.min))} ${fact('to', short(feature.max))} ${fact('mean', short(feature.mean))}
      ${fact('norm', short(feature.norm))} ${fact('zero', percent(feature.zeroShare))}
    </dl>
  `;
}

export function fact(name: string, value: string): TemplateResult {
  return html`<div>
    <dt>${term(name)}</dt>
    <dd>${value}</dd>
  </div>`;
}

const PALETTE_CELLS = 32;

function palette(scale: FeatureScale): TemplateResult {
  return html`<svg viewBox="0 0 ${PALETTE_CELLS} 1" preserveAspectRatio="none" aria-hidden="true">
    ${Array.from({ length: PALETTE_CELLS }, (_, at) => {
      const value = scale.low + ((scale.high - scale.low) * at) / (PALETTE_CELLS - 1);
      return svg`<rect x=${at} y="0" width="1.1" height="1" fill=${`rgb(${colourOf(value, scale).join(' ')})`}></rect>`;
    })}
  </svg>`;
}

function drawStrip(canvas: HTMLCanvasElement, { preview }: FeatureStatistics, scale: FeatureScale): void {
  const context = canvas.getContext('2d');
  if (!context) {
    return;
  }
  const image = context.createImageData(preview.length, 1);
  preview.forEach((value, index) => {
    image.data.set([...colourOf(value, scale), 255], index * 4);
  });
  context.putImageData(image, 0, 0);
}

function colourOf(value: number, { low, high }: FeatureScale): Colour {
  return interpolate(low < 0 ? DIVERGING : SEQUENTIAL, (value - low) / (high - low));
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

function interpolate(stops: Colour[], share: number): Colour {
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const low = stops[Math.floor(at)] ?? [0, 0, 0];
  const high = stops[Math.ceil(at)] ?? low;
  const weight = at - Math.floor(at);
  return [0, 1, 2].map((channel) =>
    Math.round((low[channel] ?? 0) * (1 - weight) + (high[channel] ?? 0) * weight),
  ) as Colour;
}
