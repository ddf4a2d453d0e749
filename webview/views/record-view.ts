import { type TemplateResult, html } from 'lit';
import type { HashedFile, Report, StoredFile } from '../../src/protocol/report.js';
import { bytesInWords, careInWords, limitsInWords, roleInWords, whenInWords } from '../../src/words/record-words.js';
import { fileInWords } from '../../src/words/report-words.js';
import { truthInWords } from '../../src/words/truth-words.js';
import { fact } from './feature-strip.js';

/** What makes a report one that can be filed: when, by what and from which files it was made, and what it does not tell. */

export function recordSection(report: Report): TemplateResult {
  const { inputs, batch, tool, timings } = report;
  const truth = truthInWords(report);
  const when = whenInWords(report);
  return html`
    <section aria-labelledby="files">
      <h2 id="files">Files and run</h2>
      <dl class="facts wide">
        ${when === undefined ? '' : fact('date', when)} ${fact('tool', `${tool.name} ${tool.version}`)}
        ${fact('checkpoint', fileInWords(inputs.checkpoint))} ${fact('gradient', fileInWords(inputs.gradients))}
        ${fact('batch', `${batch.size ?? `at least ${batch.lowerBound}`}: ${batch.evidence}`)}
        ${truth === undefined ? '' : fact('truth', truth)}
        ${fact('time', `read ${timings.readMs.toFixed(0)} ms, labels in ${timings.recoverMs.toFixed(1)} ms, total ${timings.totalMs.toFixed(0)} ms`)}
      </dl>
      ${inputs.files ? hashTable(inputs.files, inputs.objects ?? []) : ''}
    </section>
    <section aria-labelledby="limits">
      <h2 id="limits">What this report does not tell</h2>
      <ul class="limits">
        ${limitsInWords(report).map((sentence) => html`<li>${sentence}</li>`)}
      </ul>
    </section>
  `;
}

/** Of the head of the report: the truth it was compared with, and on a saved page what whoever files it looks for first. */
export function headOfPage(report: Report): TemplateResult {
  const truth = truthInWords(report);
  const care = careInWords(report);
  const { name, version } = report.tool;
  return html`
    ${truth === undefined ? '' : html`<p class="muted">${truth}.</p>`}
    <p class="muted page-only">${[whenInWords(report), `${name} ${version}`].filter(Boolean).join(' · ')}</p>
    ${care === undefined ? '' : html`<p class="page-only">${care}</p>`}
  `;
}

function hashTable(files: readonly HashedFile[], objects: readonly StoredFile[]): TemplateResult {
  return html`
    <h3 id="hashes">Files that were read, by their contents</h3>
    <table class="hashes" aria-labelledby="hashes">
      <thead>
        <tr>
          <th scope="col">File</th>
          <th scope="col">Read as</th>
          <th scope="col">Size</th>
          <th scope="col">SHA-256</th>
        </tr>
      </thead>
      <tbody>
        ${files.map(
          (file) =>
            html`<tr>
              <th scope="row">${file.path}</th>
              <td>${roleInWords(file)}</td>
              <td class="number">${bytesInWords(file.bytes)}</td>
              <td><code>${file.sha256}</code></td>
            </tr>`,
        )}
        ${objects.map(
          (file) =>
            html`<tr>
              <th scope="row">${file.path}</th>
              <td>${roleInWords(file)}</td>
              <td class="number">${bytesInWords(file.bytes)}</td>
              <td>not hashed, which would fetch all of it; the store says <code>${file.identity}</code></td>
            </tr>`,
        )}
      </tbody>
    </table>
  `;
}
