import { type TemplateResult, html } from 'lit';
import { type Ref, createRef, ref } from 'lit/directives/ref.js';
import type { FilterImages, Pictures } from '../../src/protocol/inspection.js';
import type { Decoded } from './state.js';
import { type Colour, NOT_FINITE, colourOf, paint, zeroColour } from './heat-map.js';

/** Small images side by side on one canvas: filters of a convolution, pictures of an array. */

const GAP = 1;
const MOST_ACROSS = 16;
/** A row of tiles is about as wide as the page, in pixels on the screen. */
const MOST_WIDTH = 1000;

interface Tiles {
  readonly id: string;
  readonly label: string;
  readonly count: number;
  readonly height: number;
  readonly width: number;
  /** About so many pixels on the screen for the longer side. */
  readonly side: number;
  readonly at: (tile: number, row: number, column: number) => Colour;
}

/** Each tile is enlarged by a whole number. */
function tilesView({ id, label, count, height, width, side, at }: Tiles): TemplateResult {
  const canvas: Ref<HTMLCanvasElement> = createRef();
  const zoom = Math.max(1, Math.floor(side / Math.max(height, width)));
  const fitting = Math.max(1, Math.floor(MOST_WIDTH / ((width + GAP) * zoom)));
  const across = Math.min(MOST_ACROSS, fitting, count);
  const down = Math.ceil(count / across);
  const [pixelsAcross, pixelsDown] = [across * (width + GAP) - GAP, down * (height + GAP) - GAP];
  queueMicrotask(() => {
    if (!canvas.value) {
      return;
    }
    const zero = zeroColour();
    paint(canvas.value, pixelsAcross, pixelsDown, (x, y) => {
      const tile = Math.floor(y / (height + GAP)) * across + Math.floor(x / (width + GAP));
      const [column, row] = [x % (width + GAP), y % (height + GAP)];
      return tile >= count || column >= width || row >= height ? zero : at(tile, row, column);
    });
  });
  return html`<canvas
    ${ref(canvas)}
    id=${id}
    role="img"
    aria-label=${label}
    style="width: ${pixelsAcross * zoom}px; height: ${pixelsDown * zoom}px"
  ></canvas>`;
}

const FILTER_SIDE = 48;

export function filtersView({ count, height, width, channels, scale, values }: Decoded<FilterImages>): TemplateResult {
  const size = channels * height * width;
  const shown = values.length / size;
  const zero = zeroColour();
  const grey = (value: number): number => (scale > 0 ? 127.5 * (1 + value / scale) : 127.5);
  return tilesView({
    id: 'filters',
    label: `${shown} of ${count} filters, ${height} by ${width}`,
    count: shown,
    height,
    width,
    side: FILTER_SIDE,
    at: (tile, row, column) => {
      const of = (channel: number): number => values[tile * size + (channel * height + row) * width + column] ?? NaN;
      return channels === 3 ? [grey(of(0)), grey(of(1)), grey(of(2))] : colourOf(of(0), scale, zero);
    },
  });
}

const PICTURE_SIDE = 96;

export function picturesView(pictures: Decoded<Pictures>): TemplateResult {
  const { count, first, height, width, channels, low, high, values } = pictures;
  const size = channels * height * width;
  const shown = values.length / size;
  const shade = (value: number): number => (high > low ? (255 * (value - low)) / (high - low) : 127.5);
  return tilesView({
    id: 'pictures',
    label: `Pictures ${first} to ${first + shown - 1} of ${count}, ${height * pictures.every} by ${width * pictures.every} pixels`,
    count: shown,
    height,
    width,
    side: PICTURE_SIDE,
    at: (tile, row, column) => {
      const of = (channel: number): number => values[tile * size + (channel * height + row) * width + column] ?? NaN;
      const colour = [of(0), of(Math.min(1, channels - 1)), of(channels - 1)] as const;
      return colour.every(Number.isFinite) ? [shade(colour[0]), shade(colour[1]), shade(colour[2])] : NOT_FINITE;
    },
  });
}
