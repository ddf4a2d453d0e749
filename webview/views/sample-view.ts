import { type TemplateResult, html } from 'lit';
import type { SampleReport } from '../../src/protocol/report.js';
import {
  confidenceInDigits,
  confidenceInWords,
  kindInWords,
  labelInWords,
  percent,
} from '../../src/words/label-words.js';
import { className, featureKnown, nameOfSample, short, statusInWords } from '../../src/words/report-words.js';
import { searchInWords } from '../../src/words/terms.js';
import { originOfTruth } from '../../src/words/truth-words.js';
import { tag } from '../ui/toolkit.js';
import { fact, featureScaleOf, featureStrip } from './feature-strip.js';
import { labelBars } from './label-bars.js';
import { landscapeChart } from './landscape-chart.js';
import { detailsOfSample } from './leak-view.js';
import { inputHeading, inputNotes, inputPictures, reconstructionEvidence } from './reconstruction-view.js';
import type { PanelActions, ReportState } from './report-view.js';

/** One sample: what was found of it, and on what that rests. */

export function sampleSection(
  { report, pictures, picture }: ReportState,
  sample: SampleReport,
  index: number,
  actions: PanelActions,
): TemplateResult {
  const truth = report.truth?.samples[index];
  const origin = report.truth ? originOfTruth(report.truth) : '';
  const beside = origin === '' ? '' : ` (${origin})`;
  const againstTruth = (kind: string, error: number | null | undefined): TemplateResult | string =>
    typeof error === 'number'
      ? html`<p class="muted">Against the truth${beside}: ${kind} error ${error.toExponential(1)}</p>`
      : '';
  const name = (at: number): string => className(report, at);
  const own = sample.reconstruction;
  const shown = own && pictures.find((given) => given.sample === index);
  return html`
    <section aria-labelledby="sample-${index}">
      <div class="headings">
        <h2 id="sample-${index}">${nameOfSample(sample, index)} ${tag(statusInWords(sample))}</h2>
        ${own ? inputHeading(own) : ''}
      </div>
      <div class="sample">
        ${shown ? inputPictures(shown, picture) : ''}
        <div class="told">
          <div>
            ${
              sample.status === 'not-identifiable'
                ? html`<h3>No label</h3>
                    <p>None can be told, so none is shown.</p>`
                : html`<h3>Label: ${labelInWords(sample, name)}</h3>
                    <p class="muted">Kind: ${kindInWords(sample)}</p>
                    ${labelBars(report, sample)}`
            }
            ${againstTruth('largest', truth?.labelMaxError)}
          </div>
          <div>
            <h3>Last-layer feature${featureKnown(sample) === '' ? '' : `, ${featureKnown(sample)}`}</h3>
            ${featureStrip(sample.featureStatistics, featureScaleOf(report.samples.map((own) => own.featureStatistics)))}
            ${againstTruth('relative', truth?.featureRelativeError)}
          </div>
        </div>
      </div>
      ${own ? inputNotes(own, shown, picture, actions) : ''} ${detailsOfSample({ report, pictures }, index, actions)}
    </section>
  `;
}

export function sampleEvidence(
  { report, chart }: ReportState,
  sample: SampleReport,
  index: number,
  actions: PanelActions,
): TemplateResult {
  const name = (at: number): string => className(report, at);
  return html`
    <section aria-label="Evidence for ${nameOfSample(sample, index)}">
      <h3>How sure this is</h3>
      <p>${sample.reason}</p>
      <p>${confidenceInWords(sample, name)} ${sample.explanation}</p>
      <dl class="facts">
        ${fact('method', searchInWords(sample.method))}
        ${fact('confidence', confidenceInDigits(sample.label.classConfidence ?? sample.confidence))}
        ${fact('λ', short(sample.scalar))} ${fact('misfit ρ', short(sample.residual))}
        ${fact('noise floor', short(sample.residualFloor))}
        ${sample.multiplicity === undefined ? '' : fact('samples alike', String(sample.multiplicity))}
        ${sample.share === undefined ? '' : fact('share of the gradient', percent(sample.share))}
        ${sample.featureError === undefined ? '' : fact('expected feature error', sample.featureError.toExponential(0))}
        ${sample.gradientScale === 1 ? '' : fact('gradient scaled by', short(sample.gradientScale))}
      </dl>
      ${sample.reconstruction ? reconstructionEvidence(report, sample.reconstruction) : ''}
      ${
        sample.landscape
          ? html`<h3>Loss landscape</h3>
              ${landscapeChart(sample.landscape, sample.status === 'not-identifiable' ? 'lowest point' : 'solution', chart, actions.setChart, actions.savePng)}`
          : ''
      }
    </section>
  `;
}
