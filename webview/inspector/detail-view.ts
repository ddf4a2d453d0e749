import { type TemplateResult, html, nothing } from 'lit';
import {
  type ElementText,
  MOST_FILTERS,
  type PictureRequest,
  type SliceRequest,
  hasFilters,
} from '../../src/protocol/inspection.js';
import { button, choice } from '../ui/toolkit.js';
import { axisChoice, numberInput } from './axis-inputs.js';
import { type HeatMapActions, heatMapView, zoomed } from './heat-map.js';
import { histogramView } from './histogram-view.js';
import { nonZeroRowsView } from './non-zero-rows-view.js';
import { picturesControls } from './pictures-controls.js';
import type { DetailState, HeatMapState, Tab } from './state.js';
import { filtersView, picturesView } from './tiles-view.js';

/** One tensor, opened below the table. */

export interface DetailActions extends HeatMapActions {
  setTab: (tab: Tab) => void;
  setRequest: (request: SliceRequest) => void;
  setPictures: (request: PictureRequest) => void;
  setStart: (start: number) => void;
  setInput: (input: number) => void;
  copyValues: () => void;
  close: () => void;
}

/** @param hasSparseRows whether a list of the rows that are not zero is offered */
export function detailView(state: DetailState, hasSparseRows: boolean, actions: DetailActions): TemplateResult {
  const tabs: { value: Tab; label: string }[] = [
    { value: 'map', label: 'Heat map' },
    { value: 'histogram', label: 'Histogram' },
    { value: 'values', label: 'Values' },
    ...(hasFilters(state.shape) ? [{ value: 'filters' as const, label: 'Filters' }] : []),
    ...(state.pictureRequest ? [{ value: 'pictures' as const, label: 'Pictures' }] : []),
    ...(hasSparseRows ? [{ value: 'rows' as const, label: 'Rows' }] : []),
  ];
  return html`<section class="detail" aria-label="Tensor ${state.name}">
    <header>
      <h2>${state.name}</h2>
      ${choice({ label: 'View', value: state.tab, choices: tabs, onChange: actions.setTab })}
      ${button({ label: 'Close', title: 'Close the tensor (Escape)', onClick: actions.close })}
    </header>
    <div class="content">
      ${
        state.problem === undefined
          ? contentOf(state, actions)
          : html`<p class="problem" role="alert">${state.problem}</p>`
      }
    </div>
  </section>`;
}

const WAITING = html`<p class="muted" role="status">Reading...</p>`;

function contentOf(state: DetailState, actions: DetailActions): TemplateResult {
  switch (state.tab) {
    case 'map':
      return html`${axisControls(state, actions)}
      ${state.map ? html`${zoomButtons(state.map, actions)}${heatMapView(state.map, actions)}` : WAITING}`;
    case 'histogram':
      return state.histogram ? histogramView(state.histogram) : WAITING;
    case 'values':
      return state.text ? valuesView(state.text, state.shape, actions) : WAITING;
    case 'filters':
      return html`${inputControl(state, actions)} ${state.filters ? filtersView(state.filters) : WAITING}`;
    case 'pictures':
      return html`${
        state.pictureRequest
          ? picturesControls(state.shape, state.pictureRequest, state.pictures, actions.setPictures)
          : nothing
      }
      ${state.pictures ? picturesView(state.pictures) : WAITING}`;
    case 'rows':
      return state.nonZeroRows ? nonZeroRowsView(state.nonZeroRows) : WAITING;
  }
}

function axisControls({ shape, request, compares }: DetailState, actions: DetailActions): TemplateResult {
  const axisChoices = [...shape.keys()];
  const pick = (label: string, value: number, picked: (axis: number) => void): TemplateResult =>
    axisChoice(label, shape, value, { change: picked });
  const change = (part: Partial<SliceRequest>): void => {
    const { window: _window, ...rest } = request;
    actions.setRequest({ ...rest, ...part });
  };
  return html`<div class="controls">
    ${
      shape.length >= 2
        ? html`${pick('Down', request.rowAxis, (axis) => {
            change({ rowAxis: axis, columnAxis: axis === request.columnAxis ? request.rowAxis : request.columnAxis });
          })}
          ${pick('Right', request.columnAxis, (axis) => {
            change({ columnAxis: axis, rowAxis: axis === request.rowAxis ? request.columnAxis : request.rowAxis });
          })}
          ${axisChoices
            .filter((axis) => axis !== request.rowAxis && axis !== request.columnAxis)
            .map((axis) =>
              numberInput(`Axis ${axis} at`, request.at[axis] ?? 0, (shape[axis] ?? 1) - 1, (value) => {
                change({ at: request.at.map((own, index) => (index === axis ? value : own)) });
              }),
            )}`
        : nothing
    }
    ${
      compares
        ? choice({
            label: 'Which file',
            value: request.of,
            choices: [
              { value: 'here', label: 'This file' },
              { value: 'there', label: 'The other' },
              { value: 'difference', label: 'Difference' },
            ],
            onChange: (of) => {
              change({ of });
            },
          })
        : nothing
    }
  </div>`;
}

function zoomButtons({ slice, cell }: HeatMapState, actions: HeatMapActions): TemplateResult {
  const centre = cell ?? { row: Math.floor(slice.cellRows / 2), column: Math.floor(slice.cellColumns / 2) };
  const zoom = (factor: number) => () => {
    actions.show(zoomed(slice, centre, factor));
  };
  return html`<div class="controls zoom">
    ${button({ label: 'Zoom in', title: 'Zoom in (+)', onClick: zoom(0.5) })}
    ${button({ label: 'Zoom out', title: 'Zoom out (-)', onClick: zoom(2) })}
    ${button({
      label: 'All',
      title: 'All of the slice (0)',
      onClick: () => {
        actions.show(undefined);
      },
    })}
  </div>`;
}

/** Row-major position as indices. */
function indexOf(position: number, shape: readonly number[]): string {
  const indices: number[] = [];
  let rest = position;
  for (const size of [...shape].reverse()) {
    indices.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return indices.length === 0 ? '' : `[${indices.join(', ')}]`;
}

function valuesView({ start, values, total }: ElementText, shape: number[], actions: DetailActions): TemplateResult {
  const perLine = 8;
  const lines = Array.from({ length: Math.ceil(values.length / perLine) }, (_, line) => line * perLine);
  return html`<div class="controls">
      ${numberInput('From element', start, Math.max(total - 1, 0), actions.setStart)}
      ${
        start + values.length < total
          ? button({
              label: 'Next',
              title: 'Next elements',
              onClick: () => {
                actions.setStart(start + values.length);
              },
            })
          : nothing
      }
      ${button({ label: 'Copy', title: 'Copy these values', onClick: actions.copyValues })}
    </div>
    <pre class="values" tabindex="0" aria-label="Values, row-major">
${lines.map((line) => `${indexOf(start + line, shape).padEnd(4 + 5 * shape.length)} ${values.slice(line, line + perLine).join('  ')}\n`)}</pre>`;
}

function inputControl({ shape, input, filters }: DetailState, actions: DetailActions): TemplateResult {
  const [count = 0, inputs = 0] = shape;
  return html`<div class="controls">
    ${inputs === 3 ? nothing : numberInput('Input channel', input, inputs - 1, actions.setInput)}
    <span class="muted"
      >${inputs === 3 ? 'Three input channels as red, green and blue. ' : ''}${
        filters && count > MOST_FILTERS ? `The first ${MOST_FILTERS} of ${count} filters.` : `${count} filters.`
      }</span
    >
  </div>`;
}
