import { type TemplateResult, html, nothing } from 'lit';
import type { PictureRequest, Pictures } from '../../src/protocol/inspection.js';
import { button } from '../ui/toolkit.js';
import { axisChoice, numberInput } from './axis-inputs.js';
import { formatNumber } from './rows.js';
import type { Decoded } from './state.js';

/** Which axes of a tensor are pictures, and which pictures are shown. */

type AxisOf = 'channelAxis' | 'rowAxis' | 'columnAxis' | 'alongAxis';

const LABELS: Record<AxisOf, string> = {
  alongAxis: 'Pictures',
  channelAxis: 'Colours',
  rowAxis: 'Down',
  columnAxis: 'Right',
};

export function picturesControls(
  shape: readonly number[],
  request: PictureRequest,
  pictures: Decoded<Pictures> | undefined,
  change: (request: PictureRequest) => void,
): TemplateResult {
  const names = Object.keys(LABELS) as AxisOf[];
  const used = new Set(names.map((name) => request[name]));
  const sizeAlong = request.alongAxis < 0 ? 1 : (shape[request.alongAxis] ?? 1);
  const shown = pictures ? pictures.values.length / (pictures.channels * pictures.height * pictures.width) : 0;
  return html`<div class="controls">
      ${names.map((name) =>
        axisChoice(LABELS[name], shape, request[name], {
          none: name === 'channelAxis' ? 'none, grey' : name === 'alongAxis' ? 'one' : undefined,
          isOpen: (axis) => name !== 'channelAxis' || shape[axis] === 3,
          change: (axis) => {
            change(withAxis(request, name, axis));
          },
        }),
      )}
      ${[...shape.keys()]
        .filter((axis) => !used.has(axis) && (shape[axis] ?? 1) > 1)
        .map((axis) =>
          numberInput(`Axis ${axis} at`, request.at[axis] ?? 0, (shape[axis] ?? 1) - 1, (value) => {
            change({ ...request, at: request.at.map((own, index) => (index === axis ? value : own)) });
          }),
        )}
      ${
        sizeAlong > 1
          ? numberInput('From picture', request.first, sizeAlong - 1, (first) => {
              change({ ...request, first });
            })
          : nothing
      }
      ${
        pictures && pictures.first + shown < pictures.count
          ? button({
              label: 'Next',
              title: 'Next pictures',
              onClick: () => {
                change({ ...request, first: pictures.first + shown });
              },
            })
          : nothing
      }
    </div>
    ${
      pictures
        ? html`<p class="muted" role="status">
            ${sizeAlong > 1 ? `Pictures ${pictures.first} to ${pictures.first + shown - 1} of ${pictures.count}. ` : ''}${formatNumber(pictures.low)}
            is black, ${formatNumber(pictures.high)} is
            white.${pictures.every > 1 ? ` Each pixel is the mean of ${pictures.every} by ${pictures.every}.` : ''}
          </p>`
        : nothing
    }`;
}

/** An axis that another part had goes to it in exchange. */
function withAxis(request: PictureRequest, name: AxisOf, axis: number): PictureRequest {
  const before = request[name];
  const holder = (Object.keys(LABELS) as AxisOf[]).find((own) => own !== name && axis >= 0 && request[own] === axis);
  // Colours are three: what cannot take their place has none.
  const exchanged = holder === undefined ? {} : { [holder]: holder === 'channelAxis' ? -1 : before };
  return { ...request, ...exchanged, [name]: axis, first: 0 };
}
