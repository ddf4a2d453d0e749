import { worst } from '../audit/findings.js';
import type { LeakReport, ReconstructionReport, Report, SampleReport, Severity } from '../protocol/report.js';
import { FEATURE_SEVERITY, LABEL_SEVERITY, featureKnowledge, labelKnowledge } from '../protocol/sample-knowledge.js';
import { confidenceInDigits, kindInWords, labelInWords } from '../words/label-words.js';
import { className } from '../words/report-words.js';

/** A report as single leaks that another report can be looked through for. */
export interface LeakTrace {
  /** What it is: leaks of one kind are compared with each other. */
  readonly kind: string;
  /** Of its kind, which one: a class, a tensor; null where nothing tells. */
  readonly key: string | null;
  readonly what: string;
  /** The key as people read it. */
  readonly of: string | null;
  readonly severity: Severity | null;
  /** How much is known, the first number that differs decides. */
  readonly level: readonly number[];
  readonly detail: string;
  /** Why another audit would not have told it, had it been there to tell; undefined where it would. */
  readonly unassessedIn: (other: Report) => string | undefined;
}

export function tracesOf(report: Report): LeakTrace[] {
  return [
    ...samplesTraces(report),
    ...countTraces(report),
    ...report.leaks.filter(isOwn).map((leak) => leakTrace(report, leak)),
    ...fileTraces(report),
  ];
}

/** Why nothing that is missing in an audit can be called gone; undefined where its methods say so one by one. */
export function whyUnfinished({ cancelled, verdict }: Report): string | undefined {
  if (cancelled === true) {
    return 'The audit was stopped before it was done.';
  }
  return verdict.outcome === 'mismatch' ? verdict.sentence : undefined;
}

/** Undefined when one of these methods ran to its end; else why none did. */
function whyNoneRan(report: Report, ids: readonly string[]): string | undefined {
  const open = whyUnfinished(report);
  if (open !== undefined || !report.methods) {
    return open ?? 'The report is of an earlier version, which does not say what ran.';
  }
  const rows = report.methods.filter(({ id }) => ids.includes(id));
  if (rows.some(({ outcome }) => outcome !== 'not-applicable')) {
    return undefined;
  }
  const [row] = [...rows, ...report.methods.filter(({ id }) => id === 'all')];
  return row?.detail ?? 'No method that tells this ran.';
}

const HEAD_METHODS = ['head-single', 'head-batch'];
/** A file may claim any number of samples alike. */
const MOST_SAMPLES = 20_000;

/** A group of samples that cannot be told apart leaks as often as it has samples. */
function samplesTraces(report: Report): LeakTrace[] {
  const all = report.samples.reduce((sum, { multiplicity = 1 }) => sum + multiplicity, 0);
  return report.samples.flatMap((sample, index) => {
    const own = sampleTraces(report, sample, index);
    return Array.from({ length: all <= MOST_SAMPLES ? (sample.multiplicity ?? 1) : 1 }, () => own).flat();
  });
}

function sampleTraces(report: Report, sample: SampleReport, index: number): LeakTrace[] {
  const known = labelKnowledge(sample);
  const [top] = sample.label.classes;
  // A guess may be of another class in another audit of the same sample.
  const isSure = known === 'recovered' || known === 'class';
  const key = isSure && top ? String(top.index) : null;
  const of = isSure && top ? className(report, top.index) : null;
  const feature = featureKnowledge(sample);
  const named = { key, of };
  const unassessedIn = (other: Report): string | undefined => whySamplesOpen(other, sample.method);
  const { reconstruction } = sample;
  return [
    ...(known === 'none'
      ? []
      : [
          {
            ...named,
            kind: 'label',
            what: 'Label',
            severity: LABEL_SEVERITY[known],
            level: [LABEL_LEVELS[known]],
            detail: labelDetail(report, sample),
            unassessedIn,
          },
        ]),
    // Noise that hides the head's gradient leaves a sample in the report of which nothing is known.
    ...(report.findings.some(({ id }) => id.startsWith('feature-'))
      ? [
          {
            ...named,
            kind: 'feature',
            what: 'Last-layer feature',
            severity: FEATURE_SEVERITY[feature],
            level: [FEATURE_LEVELS[feature]],
            detail: FEATURE_WORDS[feature],
            unassessedIn,
          },
        ]
      : []),
    ...(reconstruction && isFound(reconstruction)
      ? [
          {
            ...named,
            kind: reconstruction.usedTruth ? 'input-with-label' : 'input',
            what: reconstruction.usedTruth ? 'Input, with the true label' : 'Input',
            severity: reconstruction.usedTruth ? ('low' as const) : INPUT_SEVERITY[reconstruction.verdict],
            level: [reconstruction.verdict === 'exact' ? 1 : 0],
            detail: `${reconstruction.verdict}, by ${reconstruction.by}`,
            unassessedIn: (other: Report) => whyInputsOpen(other, reconstruction, inputMethods(report, index)),
          },
        ]
      : []),
  ];
}

const LABEL_LEVELS = { recovered: 2, class: 1, guess: 0 };
const FEATURE_LEVELS = { known: 2, estimated: 1, direction: 0, sum: 0 };
const FEATURE_WORDS = {
  known: 'all of its numbers',
  estimated: 'but for an error',
  direction: 'up to its length',
  sum: 'in a sum over the samples, up to its length',
};
const INPUT_SEVERITY = { exact: 'critical', close: 'high' } as const;

function isFound(own: ReconstructionReport): own is ReconstructionReport & { verdict: 'exact' | 'close' } {
  return own.verdict === 'exact' || own.verdict === 'close';
}

function labelDetail(report: Report, sample: SampleReport): string {
  const { confidence, label } = sample;
  const sure = `confidence ${confidenceInDigits(label.classConfidence ?? confidence)}`;
  return labelKnowledge(sample) === 'guess'
    ? `a guess, ${labelInWords(sample, (index) => className(report, index))}, ${sure}`
    : `${kindInWords(sample)}, ${sure}`;
}

/** @param method that told the sample in the other audit */
function whySamplesOpen(report: Report, method: string): string | undefined {
  const why = whyNoneRan(report, HEAD_METHODS);
  if (why !== undefined) {
    return why;
  }
  if (report.batch.endedEarly) {
    return 'The time for the search for its samples was up.';
  }
  const isPublished = (own: string): boolean => own.startsWith('paper-');
  return !isPublished(method) && report.samples.some((own) => isPublished(own.method))
    ? 'Only the published search was asked for.'
    : undefined;
}

/** Methods that gave the input of a sample. */
function inputMethods({ leaks }: Report, sample: number): string[] {
  const own = leaks.filter((leak) => leak.sample === sample && leak.noun === 'Input').map(({ method }) => method);
  return own.length > 0 ? own : ['input'];
}

/** @param found in the other audit, by these methods */
function whyInputsOpen(report: Report, found: ReconstructionReport, methods: readonly string[]): string | undefined {
  const why = whyNoneRan(report, methods);
  if (why !== undefined) {
    return why;
  }
  const tried = report.samples.flatMap(({ reconstruction }) => reconstruction ?? []);
  if (found.method !== 'matching') {
    return tried.length > 0 && tried.every(({ method }) => method === 'matching' || method === 'none')
      ? `Not tried by ${found.by}.`
      : undefined;
  }
  const done = Math.max(0, ...tried.map(({ matching }) => matching?.done ?? 0));
  const wanted = found.matching?.done ?? 1;
  return done < wanted ? `Gradient matching did ${done} iterations, in the other audit ${wanted}.` : undefined;
}

function countTraces(report: Report): LeakTrace[] {
  const { labelCounts } = report;
  if (!labelCounts) {
    return [];
  }
  const isConfirmed = typeof labelCounts.confirmedBy === 'string';
  const told = labelCounts.agreed.filter((count) => count !== null).length;
  return [
    {
      kind: 'counts',
      key: null,
      what: 'How often each class occurs',
      of: null,
      severity: isConfirmed ? 'high' : 'low',
      level: [isConfirmed ? 1 : 0, told],
      detail: `${isConfirmed ? 'computed' : 'estimated'} for ${told} of ${labelCounts.agreed.length} classes`,
      unassessedIn: (other) => whyNoneRan(other, ['label-counts', ...HEAD_METHODS]),
    },
  ];
}

/** Labels, features, inputs and counts are compared sample by sample. */
function isOwn({ method, sample, noun }: LeakReport): boolean {
  return method !== 'label-counts' && !HEAD_METHODS.includes(method) && !(sample !== null && noun === 'Input');
}

const CERTAINTY = { exact: 3, close: 2, uncertain: 1 };

function leakTrace(report: Report, leak: LeakReport): LeakTrace {
  const { method, noun, tensor, title, what, certificate, gives } = leak;
  return {
    kind: `${method}/${noun}`,
    key: tensor,
    what: title,
    of: tensor,
    severity: leak.severity === undefined ? worst(report.findings) : leak.severity,
    level: [certificate ? CERTAINTY[certificate.verdict] : 0, gives.inputs, gives.tokens],
    detail: what,
    unassessedIn: (other) => whyNoneRan(other, [method]),
  };
}

/** Of the files themselves, which every audit looks at. */
function fileTraces({ findings }: Report): LeakTrace[] {
  return findings
    .filter(({ id }) => id.startsWith('pickle-'))
    .map(({ id, title, severity, evidence }) => ({
      kind: id,
      key: null,
      what: title,
      of: null,
      severity,
      level: [],
      detail: evidence,
      unassessedIn: () => undefined,
    }));
}
