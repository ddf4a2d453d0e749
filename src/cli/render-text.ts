import type { CheckStatus, LabelCountReport, ReconstructionReport, Report, SampleReport } from '../protocol/report.js';
import type { TensorFile } from '../formats/tensor-file.js';
import {
  confidenceInDigits,
  confidenceInWords,
  kindInWords,
  labelInWords,
  openRange,
  percent,
  shareInWords,
} from '../words/label-words.js';
import { counted } from '../words/count-words.js';
import { estimatorInWords, searchInWords } from '../words/terms.js';
import { STANDING_WORDS, isOpen, standingOfReport } from '../words/outcome-words.js';
import {
  METHODS_TITLE,
  className,
  countsInWords,
  fileInWords,
  headInWords,
  methodsInWords,
  noFindingsInWords,
  featureKnown,
  nameOfSample,
  statusInWords,
  updateInWords,
} from '../words/report-words.js';
import { stepsForTerminal } from '../words/next-steps.js';
import { decibels } from '../words/truth-words.js';
import { leakLines } from './render-leaks.js';
import { DEFAULT_COLUMNS, barLine, indent, wrap } from './text-layout.js';

/** The report and the listing for a terminal. */

const SHOWN_CLASSES = 8;
const MARKS: Record<CheckStatus, string> = { pass: 'ok  ', warn: 'warn', fail: 'FAIL' };

/** @param columns width to fill; 100 when the output is not a terminal */
export function renderReport(report: Report, columns = DEFAULT_COLUMNS): string {
  const width = Math.max(Math.min(columns, 140), 60);
  const { inputs, batch, samples, labelCounts, findings, timings, truth, update } = report;
  const standing = standingOfReport(report);
  const lines = [
    // A reader skims for red and green; without a judgement there is neither.
    ...(isOpen(standing) ? [`! ${STANDING_WORDS[standing].toUpperCase()}`] : []),
    ...wrap(report.verdict.sentence, width),
    '',
    `checkpoint  ${fileInWords(inputs.checkpoint)}`,
    `gradients   ${fileInWords(inputs.gradients)}`,
    ...(update
      ? indent('kind        ', `${updateInWords(update, report.verdict)}. ${update.reasons.join(' ')}`, width)
      : []),
    `head        ${headInWords(report)}`,
    '',
    'Consistency',
    ...report.consistency.flatMap(({ status, detail }) => indent(`  ${MARKS[status]}  `, detail, width)),
    '',
    ...indent('Batch       ', `${batch.size ?? `at least ${batch.lowerBound}`}. ${batch.evidence}`, width),
    ...(samples.length > 1
      ? batchLines(report, width)
      : samples.flatMap((sample, index) => sampleLines(sample, index, report, width))),
    ...(labelCounts ? countLines(labelCounts, report, width) : []),
    ...leakLines(report.leaks, null, width),
    ...methodLines(report, width),
    ...nextLines(report),
    '',
    ...(findings.length > 0 ? ['Findings'] : wrap(noFindingsInWords(report), width)),
    ...findings.flatMap(({ severity, title, evidence, mitigation }) => [
      ...indent(`  ${severity.padEnd(8)}  `, title, width),
      ...indent('            ', evidence, width),
      ...indent('            -> ', mitigation, width),
    ]),
    ...(truth ? truthLines(truth) : []),
    '',
    `read ${timings.readMs.toFixed(1)} ms, labels in ${timings.recoverMs.toFixed(1)} ms, total ${timings.totalMs.toFixed(1)} ms`,
  ];
  return `${lines.join('\n')}\n`;
}

function methodLines(report: Report, width: number): string[] {
  const methods = methodsInWords(report);
  return methods.length === 0
    ? []
    : [
        '',
        METHODS_TITLE,
        ...methods.flatMap(({ title, outcome, detail }) =>
          indent(`  ${outcome.padEnd(14)}  `, `${title}. ${detail}`, width),
        ),
      ];
}

function nextLines({ next = [] }: Report): string[] {
  const steps = stepsForTerminal(next);
  return steps.length === 0 ? [] : ['', 'To find out more, give', ...steps];
}

/** A line or two per sample; the report has the rest. */
function batchLines(report: Report, width: number): string[] {
  const { samples, batch, network } = report;
  const rows = samples.map((sample, index) => {
    const { label, multiplicity = 1, share: part = 0, featureError = 0, confidence, reconstruction } = sample;
    const smoothed = label.smoothing > 0 ? `, epsilon = ${label.smoothing.toPrecision(4)}` : '';
    const count = multiplicity > 1 ? ` x ${multiplicity}` : '';
    const input =
      reconstruction && reconstruction.method !== 'none'
        ? `, input ${reconstruction.verdict}${reconstruction.usedTruth ? ' with the true label' : ''}${reconstruction.psnr === undefined ? '' : ` ${decibels(reconstruction.psnr)}`}`
        : '';
    return {
      prefix: `  ${String(index + 1).padStart(3)}  `,
      what: `${labelInWords(sample, (at) => className(report, at))}${smoothed}${count}`,
      numbers: `${percent(part).padStart(6)} of the gradient, feature error ${featureError.toExponential(0)}, confidence ${confidenceInDigits(label.classConfidence ?? confidence)}${input}`,
    };
  });
  const labelWidth = Math.max(...rows.map(({ what }) => what.length));
  const inOneLine = rows.map(({ prefix, what, numbers }) => `${prefix}${what.padEnd(labelWidth)}  ${numbers}`);
  // A column of labels where they fit, else a line for each.
  const lines = inOneLine.every(({ length }) => length <= width)
    ? inOneLine
    : rows.flatMap(({ prefix, what, numbers }) => [
        ...indent(prefix, what, width),
        ...indent(' '.repeat(prefix.length), numbers.trim(), width),
      ]);
  const failed = samples.find(({ reconstruction }) => reconstruction?.method === 'none')?.reconstruction;
  return [
    '',
    `Samples     ${batch.found ?? samples.length} found; together they explain ${percent(batch.explained ?? 0)} of the head's gradient`,
    ...lines,
    ...(failed ? indent('Inputs      ', `not reconstructed. ${failed.reason}`, width) : []),
    ...(network && !failed ? indent('  network   ', `${network.name} (${network.source})`, width) : []),
  ];
}

function sampleLines(sample: SampleReport, index: number, report: Report, width: number): string[] {
  const { featureStatistics: feature } = sample;
  const name = (at: number): string => className(report, at);
  const told = sample.status !== 'not-identifiable';
  const { shown, others, rest } = told ? topClasses(sample) : { shown: [], others: 0, rest: 0 };
  const nameWidth = Math.max(...shown.map((at) => name(at).length), 8);
  return [
    '',
    ...indent(
      `${nameOfSample(sample, index)}    `,
      `${statusInWords(sample)}: ${told ? labelInWords(sample, name) : 'no label was told'}`,
      width,
    ),
    ...indent('            ', sample.reason, width),
    ...(told ? indent('  kind      ', kindInWords(sample), width) : []),
    ...shown.map((at) => {
      const [low, high] = openRange(sample.label, at) ?? [share(sample, at), share(sample, at)];
      return barLine(name(at).padEnd(nameWidth), low, high, shareInWords(sample, at));
    }),
    // What the others get depends on the kind.
    ...(others > 0 && sample.label.kind !== 'undetermined'
      ? [barLine(`${others} others`.padEnd(nameWidth), rest, rest, percent(rest))]
      : []),
    `  feature   ${told ? '' : `${featureKnown(sample)}: `}${feature.length} numbers, norm ${feature.norm.toPrecision(5)}, ${feature.min.toPrecision(3)} to ${feature.max.toPrecision(3)}, ${percent(feature.zeroShare)} zero`,
    ...indent(
      '  method    ',
      `${searchInWords(sample.method)}; lambda = ${sample.scalar.toPrecision(6)}, misfit ${sample.residual.toExponential(1)}, of which noise alone leaves ${sample.residualFloor.toExponential(1)}`,
      width,
    ),
    ...indent('  sure      ', confidenceInWords(sample, name), width),
    ...(sample.reconstruction ? reconstructionLines(sample.reconstruction, report, width) : []),
  ];
}

function reconstructionLines(own: ReconstructionReport, report: Report, width: number): string[] {
  const { network, engine } = report;
  const measured = [
    own.psnr === undefined ? '' : `PSNR ${decibels(own.psnr)}`,
    own.psnrFitted === undefined ? '' : `${decibels(own.psnrFitted)} with the brightness fitted`,
    own.psnr8bit === undefined ? '' : `in 8 bits ${decibels(own.psnr8bit)}`,
    own.ssim === undefined ? '' : `SSIM ${own.ssim.toFixed(4)}`,
    own.mse === undefined ? '' : `MSE ${own.mse.toExponential(2)}`,
    own.lpips === undefined ? '' : `LPIPS ${own.lpips.toFixed(4)}`,
  ].filter(Boolean);
  return [
    '',
    ...indent(
      'Input       ',
      own.method === 'none'
        ? `not reconstructed. ${own.reason}`
        : `${own.verdict}${own.usedTruth ? ', with the true label' : ''}, ${own.shape.join(' x ')}, by ${own.by} in ${own.seconds.toFixed(1)} s. ${own.reason}`,
      width,
    ),
    ...(measured.length > 0 ? indent('  truth     ', measured.join(', '), width) : []),
    ...(network
      ? indent('  network   ', `${network.name} (${network.source}). ${network.reasons.join('; ')}.`, width)
      : []),
    ...own.chain.map(
      (layer) =>
        `  ${layer.op.padEnd(8)}  ${layer.layer}: ${layer.unknowns} unknowns, ${layer.equations} equations, rank ${layer.rank}, condition ${layer.condition.toExponential(1)}, unexplained ${layer.residual.toExponential(1)}, expected error ${layer.inputError.toExponential(1)}${layer.converged ? '' : ', not converged'}`,
    ),
    ...(own.matching
      ? indent(
          '  matching  ',
          `${own.matching.preset}: ${own.matching.distance}, terms ${own.matching.terms}, labels ${own.matching.labels}, ${own.matching.optimiser}, ${own.matching.done} iterations of ${own.matching.millisecondsPerIteration.toPrecision(3)} ms${own.matchingLoss === null ? '' : `, loss ${own.matchingLoss.toExponential(2)}`}`,
          width,
        )
      : []),
    ...(engine ? indent('  engine    ', `${engine.description}. ${engine.reasons.join('; ')}.`, width) : []),
    ...(own.file === null ? [] : [`  files     ${[own.file, own.preview].filter(Boolean).join(', ')}`]),
  ];
}

/** The label's own classes; of a dense label the largest few. */
function topClasses({ label }: SampleReport): { shown: number[]; others: number; rest: number } {
  const { probabilities } = label;
  const order = [...probabilities.keys()].sort((one, other) => (probabilities[other] ?? 0) - (probabilities[one] ?? 0));
  const shown = order.slice(0, label.kind === 'other' ? SHOWN_CLASSES : label.classes.length);
  const rest = order.slice(shown.length).reduce((sum, at) => sum + (probabilities[at] ?? 0), 0);
  return { shown, others: order.length - shown.length, rest };
}

/** Of an open label no share is known without its range. */
function share({ label }: SampleReport, at: number): number {
  return label.kind === 'undetermined' ? 0 : (label.probabilities[at] ?? 0);
}

function countLines(counts: LabelCountReport, report: Report, width: number): string[] {
  const name = (at: number): string => className(report, at);
  const standing = countsInWords(counts);
  const agreed = counts.agreed.flatMap((count, at) => (count ? [`${name(at)} x ${count}`] : []));
  const open = counts.agreed.filter((count) => count === null).length;
  return [
    '',
    ...indent(
      'Labels      ',
      `${agreed.join(', ') || 'none agreed'}${open > 0 ? `; no agreement on ${counted(open, 'class', 'classes')}` : ''}`,
      width,
    ),
    ...(standing === undefined ? [] : indent('            ', standing, width)),
    ...counts.estimators.flatMap(({ name: estimator, counts: own, assumption }) => {
      const same = own.filter((count, at) => count === counts.agreed[at]).length;
      return indent(
        `  ${estimatorInWords(estimator).title.padEnd(14)}  `,
        `agrees on ${same} of ${own.length} classes; assumes ${assumption}`,
        width,
      );
    }),
  ];
}

function truthLines(truth: NonNullable<Report['truth']>): string[] {
  const number = (value: number | null): string => (value === null ? 'not comparable' : value.toExponential(1));
  return [
    '',
    `Against ${truth.path}${truth.found ? ' (found beside the file; it took no part)' : ''}`,
    ...truth.samples.map(
      (sample, index) =>
        `  sample ${index + 1}${sample.truthRow === undefined ? '' : sample.truthRow === null ? ' (matches none)' : ` (true sample ${sample.truthRow + 1})`}  label error ${number(sample.labelMaxError)}, feature error ${number(sample.featureRelativeError)}`,
    ),
    ...(truth.missed === undefined ? [] : [`  missed ${truth.missed}`]),
    ...(truth.countErrors === null ? [] : [`  wrong counts ${truth.countErrors}`]),
  ];
}

/** What is left of the user's own numbers in a minimised dump, which is what they have to decide on. */
export function renderMinimised(
  out: string,
  tensors: Readonly<Record<string, string>>,
  outcome: Readonly<Record<string, unknown>>,
): string {
  const fates = [...new Set(Object.values(tensors))];
  const lines = fates.map((fate) => {
    const names = Object.keys(tensors).filter((name) => tensors[name] === fate);
    return `  ${fate.padEnd(22)}  ${names.length}: ${names.slice(0, 6).join(', ')}${names.length > 6 ? ', ...' : ''}`;
  });
  return [
    `Written to ${out}: checkpoint.safetensors, gradient.safetensors and minimised.json.`,
    `Audited like yours: ${'error' in outcome ? `refused, ${String(outcome.error)}` : String(outcome.verdict)}.`,
    '',
    ...lines,
    '',
    '"kept" are your own numbers. "shuffled" and "mirrored" are your head\'s, with classes in another order and features in',
    'other axes: labels and features of the same samples can be computed from them. Look before you publish.',
    '',
  ].join('\n');
}

const MOST_LISTED = 2000;

/**
 * What a file holds, without reading its data.
 *
 * @param traps names of layers made to catch inputs
 * @param model one sentence on the transformer that it is of
 */
export function renderListing(file: TensorFile, traps: readonly string[], model: string | undefined): string {
  const { entries } = file;
  const shown = entries.slice(0, MOST_LISTED);
  const nameWidth = Math.min(Math.max(...shown.map(({ name }) => name.length), 4), 70);
  const total = entries.reduce((sum, { bytes }) => sum + bytes, 0);
  const risks = file.foreignGlobals.map(({ module, name, called, risk }) => {
    const what = `${module}.${name}`;
    if (risk === 'class') {
      return `  holds an object of class ${what}, read as an inert stub`;
    }
    return `  ${risk === 'dangerous' ? 'DANGER: ' : ''}this file would ${called ? 'run' : 'import'} ${what} when loaded with torch.load`;
  });
  const lines = [
    `${file.path}: ${file.format}, ${counted(entries.length, 'tensor')}, ${counted(total, 'byte')}`,
    ...(model === undefined ? [] : [`  ${model}`]),
    ...risks,
    ...file.notes.map((note) => `  ${note}`),
    ...traps.map(
      (layer) => `  DANGER: ${layer} is a trap for inputs ("Robbing the Fed"): do not train with this checkpoint`,
    ),
    '',
    ...shown.map(
      ({ name, shape, dtype, bytes, role }) =>
        `${name.padEnd(nameWidth)}  [${shape.join(', ')}]  ${dtype}  ${counted(bytes, 'byte')}${role === 'buffer' ? '  buffer' : ''}`,
    ),
    ...(entries.length > shown.length
      ? [`... and ${entries.length - shown.length} more (--format json lists all)`]
      : []),
  ];
  return `${lines.join('\n')}\n`;
}
