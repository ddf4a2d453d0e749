import type {
  InputFile,
  LabelCountReport,
  MethodReport,
  Report,
  SampleReport,
  UpdateKind,
  UpdateReport,
  Verdict,
} from '../protocol/report.js';
import { counted } from './count-words.js';
import { kindInWords, labelInWords } from './label-words.js';
import { STANDING_WORDS, standingOfReport } from './outcome-words.js';
import { beginningsOf } from './recovered-texts.js';

/** Numbers and names as people read them. */

export function className(report: Report, index: number): string {
  return report.classNames?.[index] ?? `class ${index}`;
}

/** @param value null in a report that was read back and whose number was not finite */
export function short(value: number | null): string {
  if (value === null) {
    return 'not finite';
  }
  if (value === 0) {
    return '0';
  }
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(5)));
}

/** "420 ms", "9.1 s" or "12 min". */
export function durationInWords(milliseconds: number): string {
  if (milliseconds < 1000) {
    return `${milliseconds.toFixed(0)} ms`;
  }
  return milliseconds < 120_000 ? `${(milliseconds / 1000).toFixed(1)} s` : `${Math.round(milliseconds / 60_000)} min`;
}

export function baseName(path: string): string {
  return path.split(/[\\/]/).pop() ?? path;
}

/** A file's name with its folder's, without which a gradient's says little. */
export function shortPath(path: string): string {
  return path.split(/[\\/]/).slice(-2).join('/');
}

/** The head, for every surface; of a file that was not assessed none is judged, which is not the same as finding none. */
export function headInWords({ head, verdict, inputs }: Pick<Report, 'head' | 'verdict' | 'inputs'>): string {
  if (!head) {
    return verdict.outcome === 'not-assessed' || inputs.checkpoint === null ? 'none assessed' : 'none found';
  }
  const bias = head.bias === null ? 'no bias' : head.biasGradient ? 'with bias' : 'with bias, but no gradient of it';
  return `${head.weight} (${head.classes} classes x ${head.features} features, ${bias}, ${head.activation})`;
}

const UPDATES: Record<UpdateKind, string> = {
  gradient: 'a gradient',
  checkpoint: 'a checkpoint',
  'optimiser-state': 'the state of an optimiser',
  difference: 'a difference of weights',
  'several-steps': 'a difference of weights over several steps',
  'adam-step': 'the first step of Adam, or a sign',
  sign: 'the sign of a gradient',
  quantised: 'a quantised gradient',
  pruned: 'a gradient with entries dropped',
  unknown: 'unknown: its contents do not say',
};

/** What the file given as a gradient is; the sign counts where the audit turned the file into a gradient with it. */
export function updateInWords({ kind, sign }: UpdateReport, { outcome }: Verdict): string {
  if (kind !== 'difference' || outcome === 'not-assessed') {
    return UPDATES[kind];
  }
  return sign === -1
    ? 'a difference of weights, after minus before; turned into a gradient with the sign changed'
    : 'a difference of weights, before minus after; turned into a gradient with its sign kept';
}

const METHOD_OUTCOMES: Record<MethodReport['outcome'], string> = {
  found: 'found',
  estimated: 'estimated',
  nothing: 'nothing found',
  'not-applicable': 'not assessed',
};

export interface MethodInWords {
  readonly title: string;
  readonly outcome: string;
  readonly detail: string;
  /** What a result of it rests on, a sentence; undefined where it did not run, or the report is of an earlier version. */
  readonly assumption: string | undefined;
}

export const METHODS_TITLE = 'What was and was not assessed';

/** Which methods ran and what came of them; none in a report of an earlier version. */
export function methodsInWords({ methods }: Report): MethodInWords[] {
  return (methods ?? []).map(({ title, outcome, detail, assumes }) => ({
    title,
    outcome: METHOD_OUTCOMES[outcome],
    detail: detail.replaceAll('`', ''),
    assumption: outcome === 'not-applicable' || assumes === undefined ? undefined : `It assumes that ${assumes}`,
  }));
}

/** Undefined for a report from before counts said what confirms them. */
export function countsInWords({ confirmedBy }: LabelCountReport): string | undefined {
  if (confirmedBy === undefined) {
    return undefined;
  }
  return confirmedBy === null ? 'An estimate; nothing confirms it.' : `Computed. ${confirmedBy}`;
}

/** An empty list of findings is good news only where something was looked for. */
export function noFindingsInWords({ verdict: { outcome } }: Pick<Report, 'verdict'>): string {
  switch (outcome) {
    case 'not-assessed':
      return 'No findings, because nothing was assessed: this is not a clean result.';
    case 'mismatch':
      return 'No findings, because the files do not fit each other.';
    case 'leaks':
    case 'counts':
    case 'none':
      return 'No findings.';
  }
}

const STATUS_WORDS: Record<SampleReport['status'], string> = {
  recovered: 'Recovered',
  ambiguous: 'Ambiguous',
  'not-identifiable': 'Not identifiable',
};

export function statusInWords({ status }: SampleReport): string {
  return STATUS_WORDS[status];
}

/** "Sample 3"; what may be of several samples is not one. */
export function nameOfSample({ mayBeSeveral }: SampleReport, index: number): string {
  return mayBeSeveral ? 'The samples together' : `Sample ${index + 1}`;
}

/** What is known of the last layer's input. */
export function featureKnown({ mayBeSeveral, status }: SampleReport): string {
  return mayBeSeveral
    ? 'sum over the samples, weighted by their errors, up to its length'
    : status === 'not-identifiable'
      ? 'up to its length'
      : '';
}

/** The label and its kind; where no label was told, that. */
export function sampleInWords(report: Report, sample: SampleReport): string {
  return sample.status === 'not-identifiable'
    ? 'no label was told'
    : `${labelInWords(sample, (index) => className(report, index))}; kind: ${kindInWords(sample)}`;
}

/** One of an audit's two files. */
export function fileInWords(file: InputFile | null): string {
  return file ? `${file.path} (${file.format}, ${counted(file.tensors, 'tensor')})` : 'none was given';
}

/** The report in a few lines, for the clipboard. */
export function summaryOf(report: Report): string {
  const { verdict, inputs, update, samples, labelCounts, findings } = report;
  const counts = labelCounts && countsInWords(labelCounts);
  return [
    `${STANDING_WORDS[standingOfReport(report)]}. ${verdict.sentence}`,
    `Checkpoint: ${inputs.checkpoint?.path ?? 'none was given'}`,
    `Gradient: ${inputs.gradients.path}`,
    ...(update ? [`The file is ${updateInWords(update, verdict)}.`] : []),
    `Head: ${headInWords(report)}`,
    ...samples.map(
      (sample, index) =>
        `${nameOfSample(sample, index)}: ${statusInWords(sample).toLowerCase()}, ${sampleInWords(report, sample)}${sample.reconstruction?.usedTruth ? '; input reconstructed with the true label' : ''}`,
    ),
    ...(counts ? [`Label counts: ${counts}`] : []),
    ...beginningsOf(report),
    ...methodsInWords(report).map(({ title, outcome, detail }) => `${title}: ${outcome}. ${detail}`),
    ...findings.map(({ severity, title }) => `${severity}: ${title}`),
    ...(findings.length > 0 ? [] : [noFindingsInWords(report)]),
  ].join('\n');
}
