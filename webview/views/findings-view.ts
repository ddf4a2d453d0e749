import { type TemplateResult, html } from 'lit';
import type { Finding, Report } from '../../src/protocol/report.js';
import { noFindingsInWords } from '../../src/words/report-words.js';

/** What leaks, and what would stop it. */

export function findingsSection(report: Report): TemplateResult {
  const { findings } = report;
  return html`
    <section aria-labelledby="findings">
      <h2 id="findings">Findings</h2>
      ${findings.length === 0 ? html`<p>${noFindingsInWords(report)}</p>` : ''} ${findingList(findings)}
    </section>
  `;
}

export function findingList(findings: readonly Finding[]): TemplateResult {
  return html`<ul class="findings">
    ${findings.map(
      ({ severity, title, evidence, mitigation }, at) =>
        html`<li class="finding finding-${severity}">
          <h3><span class="severity severity-${severity}">${severity}</span> ${title}</h3>
          <p>${evidence}</p>
          <p>
            <strong>What would stop it:</strong>
            ${mitigation === findings[at - 1]?.mitigation ? 'the same as above.' : mitigation}
          </p>
        </li>`,
    )}
  </ul>`;
}
