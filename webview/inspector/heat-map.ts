import { type TemplateResult, html, nothing } from 'lit';
import { type Ref, createRef, ref } from 'lit/directives/ref.js';
import type { Slice } from '../../src/protocol/inspection.js';
import { formatNumber } from './rows.js';
import type { HeatMapState } from './state.js';

/** Signed numbers as colours on a canvas: blue below zero, red above, the same strength for the same size. */

export type Colour = readonly [number, number, number];

const NEGATIVE: Colour = [43, 122, 214];
const POSITIVE: Colour = [222, 73, 47];
export const NOT_FINITE: Colour = [200, 60, 200];
const LARGEST_SIDE = 320;
const SMALLEST_SIDE = 40;

export function isDark(): boolean {
  const { classList } = document.body;
  return (
    classList.contains('vscode-dark') ||
    (classList.contains('vscode-high-contrast') && !classList.contains('vscode-high-contrast-light'))
  );
}

export function colourOf(value: number, scale: number, zero: Colour): Colour {
  if (!Number.isFinite(value)) {
    return NOT_FINITE;
  }
  // The square root shows small entries beside large ones; the legend says so.
  const strength = scale > 0 ? Math.sqrt(Math.min(Math.abs(value) / scale, 1)) : 0;
  const end = value < 0 ? NEGATIVE : POSITIVE;
  const mix = (at: 0 | 1 | 2): number => zero[at] + strength * (end[at] - zero[at]);
  return [mix(0), mix(1), mix(2)];
}

/** Paints cells one pixel each; CSS enlarges them without smoothing. */
export function paint(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
  at: (x: number, y: number) => Colour,
): void {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d');
  if (!context) {
    return;
  }
  const image = context.createImageData(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const to = 4 * (y * width + x);
      image.data.set(at(x, y), to);
      image.data[to + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
}

export function zeroColour(): Colour {
  return isDark() ? [30, 30, 30] : [250, 250, 250];
}

export interface HeatMapActions {
  /** Shows another window of the slice. */
  show: (window: Slice['window'] | undefined) => void;
  /** The pointer or the keyboard is on a cell; null when it has left. */
  point: (cell: { row: number; column: number } | null) => void;
}

/** The window half as large around a cell, or twice as large. */
export function zoomed(
  slice: Slice,
  centre: { row: number; column: number },
  factor: number,
): Slice['window'] | undefined {
  const { window, rows, columns } = slice;
  const resize = (low: number, high: number, size: number, share: number): [number, number] => {
    const width = Math.max(1, Math.min(size, Math.round((high - low) * factor)));
    const middle = low + share * (high - low);
    const start = Math.min(Math.max(Math.round(middle - width / 2), 0), size - width);
    return [start, start + width];
  };
  const [top, bottom] = resize(window.top, window.bottom, rows, (centre.row + 0.5) / slice.cellRows);
  const [left, right] = resize(window.left, window.right, columns, (centre.column + 0.5) / slice.cellColumns);
  const isWhole = top === 0 && left === 0 && bottom === rows && right === columns;
  return isWhole ? undefined : { top, bottom, left, right };
}

export function heatMapView({ slice, cells, cell }: HeatMapState, actions: HeatMapActions): TemplateResult {
  const canvas: Ref<HTMLCanvasElement> = createRef();
  const { cellRows, cellColumns, window, scale } = slice;
  queueMicrotask(() => {
    if (canvas.value && cellRows > 0 && cellColumns > 0) {
      const zero = zeroColour();
      paint(canvas.value, cellColumns, cellRows, (x, y) => colourOf(cells[y * cellColumns + x] ?? NaN, scale, zero));
    }
  });
  const zoom = Math.max(1, Math.floor(LARGEST_SIDE / Math.max(cellColumns, cellRows, 1)));
  const size = `width: ${Math.max(cellColumns * zoom, SMALLEST_SIDE)}px; height: ${Math.max(cellRows * zoom, cellRows === 1 ? SMALLEST_SIDE : 1)}px`;
  const cellAt = (event: MouseEvent): { row: number; column: number } => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const place = (share: number, count: number): number => Math.min(Math.max(Math.floor(share * count), 0), count - 1);
    return {
      row: place((event.clientY - box.top) / box.height, cellRows),
      column: place((event.clientX - box.left) / box.width, cellColumns),
    };
  };
  const centre = cell ?? { row: Math.floor(cellRows / 2), column: Math.floor(cellColumns / 2) };
  const key = (event: KeyboardEvent): void => {
    const moves: Record<string, [number, number]> = {
      ArrowUp: [-1, 0],
      ArrowDown: [1, 0],
      ArrowLeft: [0, -1],
      ArrowRight: [0, 1],
    };
    const move = moves[event.key];
    if (move) {
      actions.point({
        row: Math.min(Math.max(centre.row + move[0], 0), cellRows - 1),
        column: Math.min(Math.max(centre.column + move[1], 0), cellColumns - 1),
      });
    } else if (event.key === '+' || event.key === '=') {
      actions.show(zoomed(slice, centre, 0.5));
    } else if (event.key === '-') {
      actions.show(zoomed(slice, centre, 2));
    } else if (event.key === '0') {
      actions.show(undefined);
    } else {
      return;
    }
    event.preventDefault();
  };
  return html`<figure class="heat-map">
    <div class="canvas" style=${size}>
      <canvas
        ${ref(canvas)}
        id="heat-map"
        tabindex="0"
        role="img"
        aria-label="Heat map of rows ${window.top} to ${window.bottom - 1}, columns ${window.left} to ${
          window.right - 1
        }; arrow keys move, plus and minus zoom"
        style=${size}
        @keydown=${key}
        @mousemove=${(event: MouseEvent) => {
          actions.point(cellAt(event));
        }}
        @mouseleave=${() => {
          actions.point(null);
        }}
        @wheel=${(event: WheelEvent) => {
          // With the control key only: without it, the wheel scrolls.
          if (event.ctrlKey) {
            event.preventDefault();
            actions.show(zoomed(slice, cellAt(event), event.deltaY < 0 ? 0.5 : 2));
          }
        }}
        @dblclick=${(event: MouseEvent) => {
          actions.show(zoomed(slice, cellAt(event), 0.5));
        }}
      ></canvas>
      ${
        cell
          ? html`<span
              class="cursor"
              style="left: ${(100 * cell.column) / cellColumns}%; top: ${(100 * cell.row) / cellRows}%; width: ${100 / cellColumns}%; height: ${100 / cellRows}%"
            ></span>`
          : nothing
      }
    </div>
    <figcaption>
      <span class="legend" aria-hidden="true"
        >${formatNumber(-scale)}<span class=${isDark() ? 'scale dark' : 'scale'}></span>${formatNumber(scale)}</span
      >
      <span id="readout" role="status">${readout(slice, cells, cell)}</span>
      ${slice.note === undefined ? nothing : html`<span class="muted">${slice.note}</span>`}
    </figcaption>
  </figure>`;
}

function readout(slice: Slice, cells: Float64Array, cell: { row: number; column: number } | null): string {
  const { window, cellRows, cellColumns } = slice;
  if (!cell) {
    return `rows ${window.top} to ${window.bottom - 1} of ${slice.rows}, columns ${window.left} to ${window.right - 1} of ${slice.columns}`;
  }
  const span = (low: number, high: number, at: number, count: number): string => {
    const from = low + Math.ceil((at * (high - low)) / count);
    const to = low + Math.ceil(((at + 1) * (high - low)) / count) - 1;
    return from >= to ? `${from}` : `${from} to ${to}`;
  };
  const rows = span(window.top, window.bottom, cell.row, cellRows);
  const columns = span(window.left, window.right, cell.column, cellColumns);
  const isOne = !rows.includes('to') && !columns.includes('to');
  return `[${rows}, ${columns}]: ${isOne ? '' : 'mean '}${cells[cell.row * cellColumns + cell.column] ?? NaN}`;
}
