import { SEVERITIES, type LabelKindName, type Report } from '../protocol/report.js';
import type { EntryResult, ProjectEntry, ProjectSummary } from '../protocol/project-report.js';
import { worst } from '../audit/findings.js';
import { type Standing, isOpen, standingOf } from '../words/outcome-words.js';
import { textsOf } from '../words/recovered-texts.js';

/** From single reports to rows, and from rows to totals. */

/** A recovered label this close to the true one is right. */
const RIGHT_LABEL = 1e-2;

/** What a project keeps of one report. */
export function resultOf(report: Report): EntryResult {
  const size = ({ multiplicity = 1 }: Report['samples'][number]): number => multiplicity;
  const known = report.samples.filter(({ status }) => status === 'recovered');
  const count = (samples: Report['samples']): number => samples.reduce((sum, sample) => sum + size(sample), 0);
  const inputs = (verdict: string): number =>
    report.samples.filter(({ reconstruction }) => reconstruction?.verdict === verdict).length;
  const kinds: Partial<Record<LabelKindName, number>> = {};
  for (const sample of known) {
    kinds[sample.label.kind] = (kinds[sample.label.kind] ?? 0) + size(sample);
  }
  const beside = report.leaks.filter(({ brief }) => brief !== null);
  // A method that gives a sample's input away has also put it with the sample.
  const others = beside.filter(
    ({ sample }) => sample === null || report.samples[sample]?.reconstruction?.verdict !== 'exact',
  );
  const layers = new Set<string>();
  const isConfirmed = typeof report.labelCounts?.confirmedBy === 'string';
  if (report.head && (known.length > 0 || isConfirmed)) {
    layers.add(report.head.weight);
  }
  for (const { tensor } of beside) {
    if (tensor !== null) {
      layers.add(tensor);
    }
  }
  for (const { reconstruction } of report.samples) {
    if (reconstruction?.verdict === 'exact' || reconstruction?.verdict === 'close') {
      for (const { layer } of reconstruction.chain) {
        layers.add(/"([^"]+)"/.exec(layer)?.[1] ?? layer);
      }
    }
  }
  return {
    outcome: report.verdict.outcome,
    sentence: report.verdict.sentence,
    counts: report.labelCounts
      ? {
          classes: report.labelCounts.agreed.filter((count) => count !== null).length,
          of: report.labelCounts.agreed.length,
          confirmed: isConfirmed,
        }
      : null,
    severity: worst(report.findings),
    findings: report.findings.map(({ id, severity, title, evidence, mitigation }) => ({
      id,
      severity,
      title,
      evidence,
      mitigation,
    })),
    samples: report.batch.size ?? report.batch.lowerBound,
    labels: count(known),
    features: count(known),
    exactInputs: inputs('exact') + others.reduce((sum, { gives }) => sum + gives.inputs, 0),
    closeInputs: inputs('close'),
    texts: textsOf(report).length,
    tokens: beside.reduce((sum, { gives }) => sum + gives.tokens, 0),
    kinds,
    layers: [...layers],
    truth: truthOf(report),
  };
}

function truthOf({ truth, samples }: Report): EntryResult['truth'] {
  if (!truth) {
    return null;
  }
  const compared = truth.samples.filter(({ labelMaxError }) => labelMaxError !== null);
  const psnr = samples.flatMap(({ reconstruction }) => reconstruction?.psnr ?? []);
  return {
    labelsRight: compared.filter(({ labelMaxError }) => (labelMaxError ?? 1) <= RIGHT_LABEL).length,
    of: truth.samples.length + (truth.missed ?? 0),
    medianPsnr: median(psnr),
  };
}

function median(values: readonly number[]): number | null {
  return [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)] ?? null;
}

/**
 * Whether an entry gives away more or less than the same dump did in the audit before. Without a judgement now nothing can
 * have become better, and after an audit without one everything is new.
 */
export function changeOf(now: EntryResult | null, before: EntryResult | null | undefined): ProjectEntry['change'] {
  if (!before || !now) {
    return before ? 'same' : 'new';
  }
  if (isOpen(standingOfResult(now)) || isOpen(standingOfResult(before))) {
    return isOpen(standingOfResult(now)) ? 'same' : 'new';
  }
  const weigh = ({ severity, labels, exactInputs, tokens }: EntryResult): number[] => [
    severity === null ? 0 : SEVERITIES.length - SEVERITIES.indexOf(severity),
    exactInputs,
    labels,
    tokens,
  ];
  const [own, earlier] = [weigh(now), weigh(before)];
  const at = own.findIndex((value, index) => value !== earlier[index]);
  return at < 0 ? 'same' : (own[at] ?? 0) > (earlier[at] ?? 0) ? 'worse' : 'better';
}

function standingOfResult(result: EntryResult): Standing {
  return standingOf({ status: 'done', result });
}

interface RoundTotals {
  gradients: number;
  leaking: number;
  exactInputs: number;
}

/** Totals over the entries that are done. */
export function summarise(entries: readonly ProjectEntry[]): ProjectSummary {
  const results = entries.flatMap(({ result, run, round }) => (result ? [{ ...result, run, round }] : []));
  const total = (value: (result: EntryResult) => number): number =>
    results.reduce((sum, result) => sum + value(result), 0);
  const count = (standing: Standing): number => entries.filter((entry) => standingOf(entry) === standing).length;
  const kinds = new Map<LabelKindName, number>();
  const layers = new Map<string, number>();
  const runs = new Map<string, Map<number, RoundTotals>>();
  for (const result of results) {
    const { kinds: own, layers: leaking, run, round, exactInputs } = result;
    for (const [kind, samples] of Object.entries(own) as [LabelKindName, number][]) {
      kinds.set(kind, (kinds.get(kind) ?? 0) + samples);
    }
    for (const layer of leaking) {
      layers.set(layer, (layers.get(layer) ?? 0) + 1);
    }
    const standing = standingOfResult(result);
    // A gradient without a judgement would only make its round look safer.
    if (round !== null && !isOpen(standing)) {
      const rounds = runs.get(run) ?? new Map<number, RoundTotals>();
      const before = rounds.get(round) ?? { gradients: 0, leaking: 0, exactInputs: 0 };
      rounds.set(round, {
        gradients: before.gradients + 1,
        leaking: before.leaking + (standing === 'leaks' ? 1 : 0),
        exactInputs: before.exactInputs + exactInputs,
      });
      runs.set(run, rounds);
    }
  }
  const truths = results.flatMap(({ truth }) => (truth ? [truth] : []));
  return {
    dumps: entries.length,
    done: results.length,
    failed: count('failed'),
    leaking: count('leaks'),
    estimated: count('estimate'),
    nothing: count('nothing'),
    notAssessed: count('not-assessed'),
    mismatched: count('mismatch'),
    samples: total(({ samples }) => samples),
    labels: total(({ labels }) => labels),
    exactInputs: total(({ exactInputs }) => exactInputs),
    closeInputs: total(({ closeInputs }) => closeInputs),
    byKind: [...kinds].map(([kind, samples]) => ({ kind, samples })).sort((one, other) => other.samples - one.samples),
    byLayer: [...layers].map(([layer, dumps]) => ({ layer, dumps })).sort((one, other) => other.dumps - one.dumps),
    overRounds: [...runs].map(([run, rounds]) => ({
      run,
      rounds: [...rounds]
        .sort(([one], [other]) => one - other)
        .map(([round, own]) => ({ round, leakRate: own.leaking / own.gradients, ...own })),
    })),
    truth:
      truths.length === 0
        ? null
        : {
            labelsRight: truths.reduce((sum, { labelsRight }) => sum + labelsRight, 0),
            of: truths.reduce((sum, { of }) => sum + of, 0),
            medianPsnr: median(truths.flatMap(({ medianPsnr }) => medianPsnr ?? [])),
          },
  };
}
