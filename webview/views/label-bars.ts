import { type TemplateResult, html, svg } from 'lit';
import type { Report, SampleReport } from '../../src/protocol/report.js';
import { openRange, percent, shareInWords } from '../../src/words/label-words.js';
import { counted } from '../../src/words/count-words.js';
import { className } from '../../src/words/report-words.js';

/** A label as bars: its own classes, the rest folded, all of them on demand. */

const MOST_SHOWN = 12;
const MOST_UNFOLDED = 1000;

export function labelBars(report: Report, sample: SampleReport): TemplateResult {
  const { probabilities, classes, kind } = sample.label;
  const order = [...probabilities.keys()].sort((one, other) => (probabilities[other] ?? 0) - (probabilities[one] ?? 0));
  const shown = order.slice(0, kind === 'other' ? MOST_SHOWN : Math.max(classes.length, 1));
  const folded = order.slice(shown.length);
  const share = folded.reduce((sum, index) => sum + (probabilities[index] ?? 0), 0);
  return html`
    <ul class="bars" aria-label="Recovered label">
      ${shown.map((index) => bar(className(report, index), endsOf(sample, index), 'bar-strong', shareInWords(sample, index)))}
    </ul>
    ${
      // What the others get depends on the kind.
      folded.length === 0 || kind === 'undetermined'
        ? ''
        : html`<details class="fold">
            <summary>
              ${counted(folded.length, 'other class', 'other classes')}${restInWords(share, folded.length, kind !== 'other')}
            </summary>
            <ul class="bars">
              ${folded.slice(0, MOST_UNFOLDED).map((index) => bar(className(report, index), endsOf(sample, index), 'bar-weak', shareInWords(sample, index)))}
            </ul>
          </details>`
    }
  `;
}

/** What the folded classes have of the label. */
function restInWords(share: number, count: number, isEven: boolean): string {
  if (share <= 0) {
    return ', none of them in the label';
  }
  const each = isEven && count > 1 ? ` (${percent(share / count)} each)` : '';
  return `, ${percent(share)}${count > 1 ? ' together' : ''}${each}`;
}

/** Where a bar ends; two ends where the noise leaves a range. */
function endsOf({ label }: SampleReport, index: number): readonly [number, number] {
  const share = label.probabilities[index] ?? 0;
  return label.kind === 'undetermined' ? (openRange(label, index) ?? [0, 1]) : [share, share];
}

/** @param ends of the bar, 0 to 1; two where the noise leaves a range */
export function bar(name: string, ends: readonly [number, number], kind: string, words: string): TemplateResult {
  const [low, high] = ends.map((end) => 100 * Math.min(Math.max(end, 0), 1)) as [number, number];
  // SVG attributes, because the content security policy allows no inline styles.
  return html`<li>
    <span class="bar-name" title=${name}>${name}</span>
    <svg class="bar ${kind}" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
      ${svg`<rect class="bar-track" x="0" y="0" width="100" height="10"></rect><rect class="bar-fill" x="0" y="0" width=${low} height="10"></rect><rect class="bar-open" x=${low} y="0" width=${high - low} height="10"></rect>`}
    </svg>
    <span class="bar-value">${words}</span>
  </li>`;
}
