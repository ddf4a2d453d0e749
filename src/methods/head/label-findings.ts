import type { Finding, LabelCountReport, SampleReport } from '../../protocol/report.js';
import { SURE_CLASS } from '../../recovery/single-sample.js';
import { counted } from '../../words/count-words.js';
import { confidenceInDigits, labelInWords } from '../../words/label-words.js';
import type { NoiseSweep } from './noise-sweep.js';

/** Labels, features and counts as risks. */

export interface LabelFacts {
  readonly className: (index: number) => string;
  /** What noise would have hidden the label, where that was tried. */
  readonly sweep: NoiseSweep | undefined;
}

export function labelFindings(sample: SampleReport, facts: LabelFacts): Finding[] {
  if (sample.status === 'not-identifiable') {
    return [sample.mayBeSeveral ? sumFinding(sample) : directionFinding(sample)];
  }
  const certain = sample.status === 'recovered';
  const { classConfidence = sample.confidence } = sample.label;
  const isClassSure = classConfidence >= SURE_CLASS;
  const several = sample.label.classes.length > 1;
  const findings: Finding[] = [
    {
      id: 'label-recovered',
      severity: certain || isClassSure ? 'high' : 'low',
      title: certain
        ? 'The label can be computed'
        : isClassSure
          ? 'The class of the label can be computed'
          : 'An attacker could guess the label, and might be wrong',
      evidence: `It is ${labelInWords(sample, facts.className)}; confidence in the class ${confidenceInDigits(classConfidence)}.`,
      mitigation: stopAdvice(facts.sweep),
    },
    ...featureFinding(sample, certain || isClassSure || sample.method === 'closed-form-bias'),
  ];
  if (certain && sample.label.smoothing > 0) {
    findings.push({
      id: 'smoothing-hides-nothing',
      severity: 'medium',
      title: 'Label smoothing does not protect this label',
      evidence: `Its epsilon, ${sample.label.smoothing.toPrecision(5)}, was computed along with the label.`,
      mitigation: 'Treat label smoothing as regularisation only.',
    });
  }
  if (certain && several && sample.label.kind.startsWith('mixup')) {
    findings.push({
      id: 'mixup-hides-nothing',
      severity: 'medium',
      title: 'Mixing samples does not protect this label',
      evidence: `Both classes and their shares of the label were computed: ${labelInWords(sample, facts.className)}.`,
      mitigation: 'Treat mixup and CutMix as regularisation only.',
    });
  }
  return findings;
}

/** The feature follows from the bias gradient whatever the label is; without one it is as sure as the label. */
function featureFinding(sample: SampleReport, isKnown: boolean): Finding[] {
  if (!isKnown) {
    return [sample.featureError === undefined ? directionFinding(sample) : blurredFinding(sample, sample.featureError)];
  }
  return [
    {
      id: 'feature-recovered',
      severity: 'high',
      title: 'The last-layer feature can be computed',
      evidence: `All ${sample.featureStatistics.length} numbers (norm ${sample.featureStatistics.norm.toPrecision(4)}). Features like these can identify people, and reconstructing the input starts from them.`,
      mitigation:
        'The same measures as for the label. Freezing the head does not help: the layer below leaks the same way.',
    },
  ];
}

/** Of a batch under noise. */
function blurredFinding({ featureStatistics }: SampleReport, error: number): Finding {
  return {
    id: 'feature-estimated',
    severity: 'medium',
    title: 'The last-layer feature can be estimated',
    evidence: `All ${featureStatistics.length} numbers, with an expected relative error of ${error.toPrecision(1)}.`,
    mitigation: stopAdvice(undefined),
  };
}

function directionFinding(sample: SampleReport): Finding {
  return {
    id: 'feature-direction-recovered',
    severity: 'medium',
    title: 'The last-layer feature is known up to its length',
    evidence: `The gradient is of a single sample, so each of its rows is that sample's feature (${sample.featureStatistics.length} numbers) times one number.`,
    mitigation: stopAdvice(undefined),
  };
}

function sumFinding(sample: SampleReport): Finding {
  return {
    id: 'feature-sum-recovered',
    severity: 'medium',
    title: 'A weighted sum of last-layer features is known',
    evidence: `The rows of the head's gradient are one direction (${sample.featureStatistics.length} numbers): the sum of the features of all samples, each times the error of its prediction. ${sample.reason}`,
    mitigation: stopAdvice(undefined),
  };
}

function stopAdvice(sweep: NoiseSweep | undefined): string {
  const always =
    'Do not share the gradient of a single sample: sum over many first, for instance by secure aggregation.';
  const guarantee = "For a guarantee, clip each sample's gradient and add noise (DP-SGD).";
  if (!sweep) {
    return `${always} ${guarantee}`;
  }
  if (sweep.stopsAt === null || sweep.standardDeviation === null) {
    return `${always} Noise alone does not help here: even ${Math.max(...sweep.levels)} x the gradient's root mean square, the most that was tried, left the main class readable${sweep.below ? ` in ${sweep.below.told} of ${sweep.draws} trials` : ''}.`;
  }
  return `${always} Tried here: noise of standard deviation ${sweep.standardDeviation.toPrecision(2)} (${sweep.stopsAt} x the gradient's root mean square) left the main class readable in ${sweep.toldAtStop} of ${sweep.draws} trials${sweep.below ? `, ${sweep.below.level} x in ${sweep.below.told} of ${sweep.draws}` : ''}. ${guarantee}`;
}

export function countFinding(
  labelCounts: LabelCountReport,
  batchSize: number | null,
  className: (index: number) => string,
): Finding {
  const known = labelCounts.agreed.flatMap((count, index) => (count ? [`${className(index)} x ${count}`] : []));
  const open = labelCounts.agreed.filter((count) => count === null).length;
  const { confirmedBy } = labelCounts;
  const shown = `${known.slice(0, 12).join(', ')}${known.length > 12 ? ', ...' : ''}`;
  if (typeof confirmedBy !== 'string') {
    return {
      id: 'label-counts-estimated',
      severity: 'low',
      title: 'How often each class occurs in the batch can be estimated, not computed',
      evidence: `Estimate: ${shown || 'no class agreed on'}. Nothing here confirms what the estimators assume${open > 0 ? `, and they disagree on ${counted(open, 'class', 'classes')}` : ''}.`,
      mitigation:
        'Treat the estimate as what an attacker would guess. Aggregate over more clients before anyone sees the gradient (secure aggregation), or use DP-SGD.',
    };
  }
  return {
    id: 'label-counts-recovered',
    severity: 'high',
    title: 'How often each class occurs in the batch can be computed',
    evidence: `${shown} in a batch of ${batchSize ?? 'unknown size'}. ${confirmedBy}`,
    mitigation:
      "Aggregate over more clients before anyone sees the gradient (secure aggregation), or use DP-SGD: clip each sample's gradient and add noise.",
  };
}
