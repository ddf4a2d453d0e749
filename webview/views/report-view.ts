import { type TemplateResult, html } from 'lit';
import type {
  CheckStatus,
  ConsistencyCheck,
  LabelCountReport,
  Report,
  SampleReport,
} from '../../src/protocol/report.js';
import { button, tag } from '../ui/toolkit.js';
import { STANDING_WORDS, isOpen, standingOfReport } from '../../src/words/outcome-words.js';
import {
  confidenceInDigits,
  confidenceInWords,
  kindInWords,
  labelInWords,
  percent,
} from '../../src/words/label-words.js';
import {
  METHODS_TITLE,
  baseName,
  className,
  countsInWords,
  fileInWords,
  headInWords,
  methodsInWords,
  noFindingsInWords,
  short,
  featureKnown,
  nameOfSample,
  statusInWords,
  updateInWords,
} from '../../src/words/report-words.js';
import { fact, featureStrip } from './feature-strip.js';
import { galleryView } from './gallery-view.js';
import { labelBars } from './label-bars.js';
import { detailsOfSample, leakSections } from './leak-view.js';
import { type ChartView, landscapeChart } from './landscape-chart.js';
import {
  type PanelPicture,
  type PictureChoice,
  type ReconstructionActions,
  reconstructionView,
} from './reconstruction-view.js';
import type { TextActions } from './texts-view.js';

/** The whole results panel as a function of its state. */

export interface PanelActions extends Omit<ReconstructionActions, 'saveInput'>, TextActions {
  /** Undefined where there is no file to save. */
  saveInput: (() => void) | undefined;
  saveJson: () => void;
  /** Undefined where there is no file to save, as on a saved page. */
  saveFeatures: (() => void) | undefined;
  savePng: () => void;
  copySummary: () => void;
  showLog: (() => void) | undefined;
  setChart: (view: ChartView) => void;
  select: (sample: number) => void;
}

export interface ReportState {
  report: Report;
  chart: ChartView;
  pictures: readonly PanelPicture[];
  picture: PictureChoice;
  /** The sample of a batch that is shown in full. */
  selected: number;
}

export function reportView(state: ReportState, actions: PanelActions): TemplateResult {
  const { report } = state;
  return html`
    ${verdict(report, actions)} ${isGallery(report) ? galleryView(state, actions.select) : ''}
    ${report.samples.map((sample, index) =>
      !isGallery(report) || index === state.selected ? sampleSection(state, sample, index, actions) : '',
    )}
    ${report.labelCounts ? countsSection(report, report.labelCounts) : ''} ${leakSections(state, actions)}
    ${findingsSection(report)} ${methodsSection(report)} ${consistencySection(report.consistency)}
    ${filesSection(report)}
  `;
}

/** One sample needs no choosing. */
function isGallery({ samples }: Report): boolean {
  return samples.length > 1;
}

function verdict(report: Report, actions: PanelActions): TemplateResult {
  const { update, verdict: own } = report;
  const standing = standingOfReport(report);
  return html`
    <header class="verdict verdict-${standing}">
      <p class="verdict-tag">
        ${isOpen(standing) ? html`<span role="img" aria-label="Warning">⚠</span> ` : ''}${STANDING_WORDS[standing]}
      </p>
      <h1>${own.sentence}</h1>
      ${update ? html`<p>The file is ${updateInWords(update, own)}. ${update.reasons.join(' ')}</p>` : ''}
      <p class="muted">
        ${baseName(report.inputs.gradients.path)}
        ${report.inputs.checkpoint ? `against ${baseName(report.inputs.checkpoint.path)}` : 'without a checkpoint'} ·
        head: ${headInWords(report)} · ${report.timings.totalMs.toFixed(0)} ms
      </p>
      <div class="actions" role="toolbar" aria-label="Report">
        ${button({ label: 'Save report', title: 'Save report (JSON)', primary: true, onClick: actions.saveJson })}
        ${
          report.samples.length > 0 && actions.saveFeatures
            ? button({ label: 'Save features', title: 'Save features (.npy)', onClick: actions.saveFeatures })
            : ''
        }
        ${
          report.samples.some(({ landscape }) => landscape)
            ? button({
                label: 'Save picture',
                title: 'Save picture of the loss landscape (PNG)',
                onClick: actions.savePng,
              })
            : ''
        }
        ${button({ label: 'Copy summary', onClick: actions.copySummary })}
        ${actions.showLog ? button({ label: 'Show log', onClick: actions.showLog }) : ''}
      </div>
    </header>
  `;
}

function sampleSection(
  { report, chart, pictures, picture }: ReportState,
  sample: SampleReport,
  index: number,
  actions: PanelActions,
): TemplateResult {
  const truth = report.truth?.samples[index];
  const name = (at: number): string => className(report, at);
  return html`
    <section aria-labelledby="sample-${index}">
      <h2 id="sample-${index}">${nameOfSample(sample, index)} ${tag(statusInWords(sample))}</h2>
      <p>${sample.reason}</p>
      ${
        sample.reconstruction
          ? reconstructionView(
              report,
              sample.reconstruction,
              pictures.find((own) => own.sample === index),
              picture,
              actions,
            )
          : ''
      }
      <div class="columns">
        <div>
          ${
            sample.status === 'not-identifiable'
              ? html`<h3>No label</h3>
                  <p>None can be told, so none is shown.</p>`
              : html`<h3>Label: ${labelInWords(sample, name)}</h3>
                  <p class="muted">Kind: ${kindInWords(sample)}</p>
                  ${labelBars(report, sample)}`
          }
          ${
            truth?.labelMaxError === undefined || truth.labelMaxError === null
              ? ''
              : html`<p class="muted">Against the truth: largest error ${truth.labelMaxError.toExponential(1)}</p>`
          }
        </div>
        <div>
          <h3>Last-layer feature${featureKnown(sample) === '' ? '' : `, ${featureKnown(sample)}`}</h3>
          ${featureStrip(sample.featureStatistics)}
          ${
            truth?.featureRelativeError === undefined || truth.featureRelativeError === null
              ? ''
              : html`<p class="muted">
                  Against the truth: relative error ${truth.featureRelativeError.toExponential(1)}
                </p>`
          }
        </div>
      </div>
      <h3>How sure this is</h3>
      <p>${confidenceInWords(sample, name)} ${sample.explanation}</p>
      <dl class="facts">
        ${fact('method', sample.method)}
        ${fact('confidence', confidenceInDigits(sample.label.classConfidence ?? sample.confidence))}
        ${fact('λ', short(sample.scalar))} ${fact('residual ρ', short(sample.residual))}
        ${fact('noise floor', short(sample.residualFloor))}
        ${sample.multiplicity === undefined ? '' : fact('samples', String(sample.multiplicity))}
        ${sample.share === undefined ? '' : fact('share of the gradient', percent(sample.share))}
        ${sample.featureError === undefined ? '' : fact('expected feature error', sample.featureError.toExponential(0))}
        ${sample.gradientScale === 1 ? '' : fact('gradient scaled by', short(sample.gradientScale))}
      </dl>
      ${
        sample.landscape
          ? html`<h3>Loss landscape</h3>
              ${landscapeChart(sample.landscape, sample.status === 'not-identifiable' ? 'lowest' : 'solution', chart, actions.setChart)}
              <p class="muted">
                How badly each λ explains the gradient. The deep notch is the solution; a second one as deep would make
                it ambiguous.
              </p>`
          : ''
      }
      ${detailsOfSample({ report, pictures }, index, actions)}
    </section>
  `;
}

function countsSection(report: Report, counts: LabelCountReport): TemplateResult {
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
        ${tag(report.batch.size === null ? `at least ${report.batch.lowerBound} samples` : `${report.batch.size} samples`)}
      </h2>
      ${confirmed === undefined ? '' : html`<p><strong>${confirmed}</strong></p>`}
      <p>${report.batch.evidence}</p>
      <div class="scroll" tabindex="0" role="region" aria-label="Label counts">
        <table>
          <thead>
            <tr>
              <th scope="col">Class</th>
              <th scope="col">Agreed</th>
              ${counts.estimators.map(({ name, assumption }) => html`<th scope="col" title="Assumes ${assumption}">${name}</th>`)}
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
        Each estimator rests on its own assumption (hover a name). Where most of them agree the count is given,
        elsewhere it is left open.
      </p>
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

/** Without it, "nothing found" would not say what was looked for. */
function methodsSection(report: Report): TemplateResult | string {
  const methods = methodsInWords(report);
  return methods.length === 0
    ? ''
    : html`
        <section aria-labelledby="methods">
          <h2 id="methods">${METHODS_TITLE}</h2>
          <table>
            <thead>
              <tr>
                <th scope="col">Method</th>
                <th scope="col">Outcome</th>
                <th scope="col">Detail</th>
              </tr>
            </thead>
            <tbody>
              ${methods.map(
                ({ title, outcome, detail }) =>
                  html`<tr>
                    <th scope="row">${title}</th>
                    <td class="outcome">${outcome}</td>
                    <td>${detail}</td>
                  </tr>`,
              )}
            </tbody>
          </table>
        </section>
      `;
}

function findingsSection(report: Report): TemplateResult {
  const { findings } = report;
  return html`
    <section aria-labelledby="findings">
      <h2 id="findings">Findings</h2>
      ${findings.length === 0 ? html`<p>${noFindingsInWords(report)}</p>` : ''}
      <ul class="findings">
        ${findings.map(
          ({ severity, title, evidence, mitigation }) =>
            html`<li class="finding finding-${severity}">
              <h3><span class="severity">${severity}</span> ${title}</h3>
              <p>${evidence}</p>
              <p><strong>What would stop it:</strong> ${mitigation}</p>
            </li>`,
        )}
      </ul>
    </section>
  `;
}

const MARKS: Record<CheckStatus, string> = { pass: '✓', warn: '!', fail: '✗' };
const MARK_WORDS: Record<CheckStatus, string> = { pass: 'passed', warn: 'warning', fail: 'failed' };

function consistencySection(checks: readonly ConsistencyCheck[]): TemplateResult {
  return html`
    <section aria-labelledby="consistency">
      <h2 id="consistency">Do the files belong together?</h2>
      <ul class="checks">
        ${checks.map(
          ({ status, detail }) =>
            html`<li class="check check-${status}">
              <span class="mark" role="img" aria-label=${MARK_WORDS[status]}>${MARKS[status]}</span
              ><span>${detail}</span>
            </li>`,
        )}
      </ul>
    </section>
  `;
}

function filesSection({ inputs, batch, tool, timings }: Report): TemplateResult {
  return html`
    <section aria-labelledby="files">
      <h2 id="files">Files and run</h2>
      <dl class="facts wide">
        ${fact('checkpoint', fileInWords(inputs.checkpoint))} ${fact('gradient', fileInWords(inputs.gradients))}
        ${fact('batch', `${batch.size ?? `at least ${batch.lowerBound}`}: ${batch.evidence}`)}
        ${fact('time', `read ${timings.readMs.toFixed(0)} ms, labels in ${timings.recoverMs.toFixed(1)} ms, total ${timings.totalMs.toFixed(0)} ms`)}
        ${fact('tool', `${tool.name} ${tool.version}`)}
      </dl>
    </section>
  `;
}
