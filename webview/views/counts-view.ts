import { type TemplateResult, html } from 'lit';
import type { LabelCountReport, Report } from '../../src/protocol/report.js';
import { counted } from '../../src/words/count-words.js';
import { className, countsInWords } from '../../src/words/report-words.js';
import { estimatorInWords } from '../../src/words/terms.js';
import { term } from '../ui/term.js';
import { tag } from '../ui/toolkit.js';

/** How often each class occurs in a batch, by every estimator. */

export function countsSection(report: Report, counts: LabelCountReport): TemplateResult {
  const confirmed = countsInWords(counts);
  const occurring = counts.agreed
    .map((count, index) => ({ count, index }))
    .filter(
      ({ count, index }) => count !== 0 || counts.estimators.some((estimator) => (estimator.counts[index] ?? 0) > 0),
    );
  return html`
    <section aria-labelledby="counts">
      <h2 id="counts">
        Labels in the batch
        ${tag(report.batch.size === null ? `at least ${counted(report.batch.lowerBound, 'sample')}` : counted(report.batch.size, 'sample'))}
      </h2>
      ${confirmed === undefined ? '' : html`<p><strong>${confirmed}</strong></p>`}
      <p>${report.batch.evidence}</p>
      <div class="scroll" tabindex="0" role="region" aria-label="Label counts">
        <table>
          <thead>
            <tr>
              <th scope="col">Class</th>
              <th scope="col">Agreed</th>
              ${counts.estimators.map(({ name, assumption }) => {
                const { title, how } = estimatorInWords(name);
                return html`<th scope="col">${term(title, `${how} It assumes ${assumption}.`)}</th>`;
              })}
            </tr>
          </thead>
          <tbody>
            ${occurring.map(
              ({ count, index }) =>
                html`<tr>
                  <th scope="row">${className(report, index)}</th>
                  <td class="number"><strong>${count ?? '?'}</strong></td>
                  ${counts.estimators.map(
                    (estimator) =>
                      html`<td class="number ${agrees(estimator, index, count) ? '' : 'differs'}">
                        ${estimator.counts[index]}${estimator.multiplicity || estimator.counts[index] === 0 ? '' : '+'}
                      </td>`,
                  )}
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
      <p class="muted">
        Each estimator rests on its own assumption, which its name shows under the pointer or with Tab. Where most of
        them agree the count is given, elsewhere it is left open ("?"); "+" is at least so many.
      </p>
      <details class="fold">
        <summary>What each estimator assumes</summary>
        <ul class="assumptions">
          ${counts.estimators.map(({ name, assumption }) => html`<li>${estimatorInWords(name).title}: ${assumption}</li>`)}
        </ul>
      </details>
    </section>
  `;
}

/** An estimator that only tells which classes occur agrees when it says the class occurs. */
function agrees(
  { counts, multiplicity }: LabelCountReport['estimators'][number],
  index: number,
  count: number | null,
): boolean {
  const own = counts[index] ?? 0;
  return multiplicity || count === null ? own === count : own > 0 === count > 0;
}
