import { type TemplateResult, html, nothing } from 'lit';
import { guard } from 'lit/directives/guard.js';
import type { NonZeroRows } from '../../src/protocol/inspection.js';
import { visibleOnPage } from '../../src/words/visible.js';
import { formatNumber } from './rows.js';

/** The rows of a matrix that are not zero, as tokens where their texts are known. */

export function nonZeroRowsView(found: NonZeroRows): TemplateResult {
  const { rows, count, indices, vocabulary } = found;
  const counted = `${grouped(count)} of ${grouped(rows)} rows ${count === 1 ? 'is' : 'are'} not zero.`;
  const first = count > indices.length ? ` The first ${grouped(indices.length)} are listed.` : '';
  const source = vocabulary === undefined ? '' : ` Texts from ${vocabulary}.`;
  return html`<p role="status">${counted}${first}${source}</p>
    ${indices.length === 0 ? nothing : guard([found], () => tableOf(found))}`;
}

function tableOf({ indices, largest, texts }: NonZeroRows): TemplateResult {
  return html`<div class="non-zero-rows" tabindex="0" role="region" aria-label="Rows that are not zero">
    <table>
      <thead>
        <tr>
          <th scope="col" class="number">Row</th>
          ${texts ? html`<th scope="col">Token</th>` : nothing}
          <th scope="col" class="number">Largest |element|</th>
        </tr>
      </thead>
      <tbody>
        ${indices.map(
          (index, at) =>
            html`<tr>
              <td class="number">${index}</td>
              ${texts ? html`<td>${tokenOf(texts[at])}</td>` : nothing}
              <td class="number" title=${largest[at] ?? nothing}>
                ${largest[at] === null ? 'not finite' : formatNumber(largest[at])}
              </td>
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

/** In quotation marks, as blanks belong to tokens. */
function tokenOf(text: string | null | undefined): TemplateResult {
  return typeof text === 'string'
    ? html`<code>${visibleOnPage(JSON.stringify(text))}</code>`
    : html`<span class="muted">not in the vocabulary</span>`;
}

function grouped(count: number): string {
  return count.toLocaleString('en');
}
