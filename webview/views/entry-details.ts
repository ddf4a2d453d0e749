import { type TemplateResult, html, nothing } from 'lit';
import type { ProjectEntry } from '../../src/protocol/project-report.js';
import type { EntryPreview } from '../../src/protocol/summary-messages.js';
import { isOpen, standingOf } from '../../src/words/outcome-words.js';
import { noFindingsInWords } from '../../src/words/report-words.js';
import { button } from '../ui/toolkit.js';
import { findingList } from './findings-view.js';
import { previewPicture } from './preview-picture.js';

/** What a row of a project opens to: what was found, with the recovered inputs and texts, and the way to the whole report. */

export interface EntryLinks {
  /** Undefined on a saved page. */
  readonly open: ((id: string) => void) | undefined;
  /** Whether the page of each entry lies beside the project's. */
  readonly hasPages: boolean;
}

export function entryDetails(
  entry: ProjectEntry,
  preview: EntryPreview | undefined,
  { open, hasPages }: EntryLinks,
): TemplateResult {
  const { id, result, problem, gradients } = entry;
  if (!result) {
    return html`<p>${problem}</p>`;
  }
  const { sentence, findings, outcome, truth } = result;
  return html`
    ${
      // Why nothing was judged is in the row itself.
      isOpen(standingOf(entry)) ? nothing : html`<p>${sentence}</p>`
    }
    ${preview ? recovered(preview) : nothing}
    ${truth && truth.of > 0 ? html`<p class="muted">Against the truth, which took no part: ${truth.labelsRight} of ${truth.of} labels right.</p>` : nothing}
    ${findings.length === 0 ? html`<p>${noFindingsInWords({ verdict: { outcome, sentence } })}</p>` : findingList(findings)}
    ${
      open
        ? button({
            label: 'Open audit',
            title: `Open audit of ${gradients}`,
            onClick: () => {
              open(id);
            },
          })
        : hasPages
          ? html`<p class="entry-page"><a href="entries/${id}/report.html">The whole report on ${gradients}</a></p>`
          : nothing
    }
  `;
}

function recovered({ pictures, texts }: EntryPreview): TemplateResult {
  return html`
    ${
      pictures.length > 0
        ? html`<div class="entry-pictures">
            ${pictures.map((own, at) => previewPicture(own, `Recovered input ${at + 1}`))}
          </div>`
        : nothing
    }
    ${texts.map((text) => html`<p><q>${text}</q></p>`)}
  `;
}
