import { type TemplateResult, html, svg } from 'lit';
import type { Report, SampleReport } from '../../src/protocol/report.js';
import { className, percent } from '../../src/words/report-words.js';

/** A label as bars: the classes that stand out, the rest folded, all of them on demand. */

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
      ${shown.map((index) => bar(className(report, index), probabilities[index] ?? 0, 'bar-strong'))}
    </ul>
    ${
      folded.length === 0
        ? ''
        : html`<details class="fold">
            <summary>
              ${folded.length} other ${folded.length === 1 ? 'class' : 'classes'}, ${percent(share)}
              together${kind === 'other' ? '' : html` (${percent(share / folded.length, 4)} each)`}
            </summary>
            <ul class="bars">
              ${folded.slice(0, MOST_UNFOLDED).map((index) => bar(className(report, index), probabilities[index] ?? 0, 'bar-weak'))}
            </ul>
          </details>`
    }
  `;
}

function bar(name: string, share: number, kind: string): TemplateResult {
  const width = 100 * Math.min(Math.max(share, 0), 1);
  // SVG attributes, because the content security policy allows no inline styles.
  return html`<li>
    <span class="bar-name" title=${name}>${name}</span>
    <svg class="bar ${kind}" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
      ${svg`<rect class="bar-track" x="0" y="0" width="100" height="10"></rect><rect class="bar-fill" x="0" y="0" width=${width} height="10"></rect>`}
    </svg>
    <span class="bar-value">${percent(share, 3)}</span>
  </li>`;
}
