import { type TemplateResult, html } from 'lit';
import type {
  BarsDetail,
  CurveDetail,
  Detail,
  PictureDetail,
  TableDetail,
  TokensDetail,
} from '../../src/protocol/detail.js';
import type { LeakReport, Report } from '../../src/protocol/report.js';
import { drawable } from '../../src/words/detail-words.js';
import { short } from '../../src/words/report-words.js';
import { term } from '../ui/term.js';
import { tag } from '../ui/toolkit.js';
import { fact } from './feature-strip.js';
import { bar } from './label-bars.js';
import { lineChart } from './loss-curve.js';
import { asPicture, fittingZoom, pictureFigure } from './picture.js';
import type { PanelPicture } from './reconstruction-view.js';
import { type TextActions, textsView } from './texts-view.js';

/** Leaks by the form of their details, whichever method found them. */

export interface ShownLeaks {
  readonly report: Report;
  readonly pictures: readonly PanelPicture[];
}

/** What belongs to the whole gradient, a section each. */
export function leakSections(shown: ShownLeaks, actions: TextActions): TemplateResult[] {
  return shown.report.leaks
    .filter(({ sample, brief }) => sample === null && brief !== null)
    .map(
      (leak) => html`
        <section aria-label="${leak.noun} ${leak.tensor ?? ''}">
          <h2>${leak.title} ${leak.amount === null ? '' : tag(leak.amount)}</h2>
          ${detailViews(leak.details, shown, actions)} ${filesOf(leak)}
        </section>
      `,
    );
}

/** What further methods tell of one sample. */
export function detailsOfSample(shown: ShownLeaks, index: number, actions: TextActions): (TemplateResult | string)[] {
  return shown.report.leaks
    .filter(({ sample, details }) => sample === index && details.length > 0)
    .map(
      (leak) => html`
        <h3>${leak.title} ${leak.amount === null ? '' : tag(leak.amount)}</h3>
        ${detailViews(leak.details, shown, actions)} ${filesOf(leak)}
      `,
    );
}

function filesOf({ files }: LeakReport): TemplateResult | string {
  return files.length === 0
    ? ''
    : html`<p class="muted">In the report's folder: ${files.map((name) => html`<code>${name}</code> `)}</p>`;
}

/** Pictures that follow each other stand beside each other. */
function detailViews(details: readonly Detail[], shown: ShownLeaks, actions: TextActions): TemplateResult[] {
  const views: TemplateResult[] = [];
  let beside: TemplateResult[] = [];
  const close = (): void => {
    views.push(...(beside.length > 1 ? [html`<div class="pictures">${beside}</div>`] : beside));
    beside = [];
  };
  for (const detail of details) {
    const view = detailView(detail, shown, actions);
    if (detail.type === 'picture') {
      beside.push(view);
    } else {
      close();
      views.push(view);
    }
  }
  close();
  return views;
}

function detailView(given: Detail, { pictures }: ShownLeaks, actions: TextActions): TemplateResult {
  const detail = drawable(given);
  switch (detail.type) {
    case 'text':
      return html`<p>${withNames(detail.text)}</p>`;
    case 'facts':
      return html`<dl class="facts">${detail.facts.map(({ name, value }) => fact(name, value))}</dl>`;
    case 'table':
      return tableView(detail);
    case 'bars':
      return barsView(detail);
    case 'curve':
      return curveView(detail);
    case 'tokens':
      return tokensView(detail);
    case 'texts':
      return textsView(detail, actions);
    case 'picture':
      return pictureView(detail, pictures);
  }
}

/** What stands between backticks is a name. */
function withNames(text: string): (TemplateResult | string)[] {
  return text.split('`').map((part, at) => (at % 2 === 1 ? html`<code>${part}</code>` : part));
}

function tableView({ title, columns, rows }: TableDetail): TemplateResult {
  return html`
    ${title === '' ? '' : html`<h4>${title}</h4>`}
    <div class="scroll" tabindex="0" role="region" aria-label=${title || 'Table'}>
      <table>
        <thead>
          <tr>
            ${columns.map(({ title: own, hint }) => html`<th scope="col">${term(own, hint)}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${rows.map(
            ({ cells, highlighted = [] }) =>
              html`<tr>
                ${columns.map(
                  ({ isNumber }, at) =>
                    html`<td class="${isNumber ? 'number' : ''} ${highlighted.includes(at) ? 'differs' : ''}">
                      ${cells[at] ?? ''}
                    </td>`,
                )}
              </tr>`,
          )}
        </tbody>
      </table>
    </div>
  `;
}

function barsView({ title, bars }: BarsDetail): TemplateResult {
  return html`<h4>${title}</h4>
    <ul class="bars" aria-label=${title}>
      ${bars.map(({ name, from, to, words }) => bar(name, [from, to], 'bar-strong', words))}
    </ul>`;
}

function curveView({ title, xTitle, yTitle, series }: CurveDetail): TemplateResult {
  const names = series.map(({ name }) => name).join(', ');
  return html`
    <h4>${title}</h4>
    ${lineChart(series, { x: xTitle, y: yTitle }, (lowest) => `${title}: ${yTitle} over ${xTitle} of ${names}; lowest ${short(lowest)}`)}
  `;
}

function tokensView({ tokens, more }: TokensDetail): TemplateResult {
  return html`<p class="tokens">
    ${tokens.map(({ text, hint }) => html`<code title=${hint ?? ''}>${text.trim() === '' ? JSON.stringify(text) : text}</code> `)}${more > 0 ? ' ...' : ''}
  </p>`;
}

function pictureView(
  { title, shape, file, normalisation }: PictureDetail,
  pictures: readonly PanelPicture[],
): TemplateResult {
  const own = file === null ? undefined : pictures.find((picture) => picture.file === file);
  if (!own || file === null) {
    return html`<p>${title}: ${shape.join(' x ')} numbers, whose file is not here.</p>`;
  }
  const picture = asPicture(shape, own.values);
  return html`<div class="pictures">
    ${pictureFigure(picture, { normalisation, channel: -1, zoom: fittingZoom(picture.shape) }, title, `picture-${file}`)}
  </div>`;
}
