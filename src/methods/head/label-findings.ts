import type { Finding, LabelCountReport, SampleReport } from '../../protocol/report.js';
import {
  type FeatureKnowledge,
  FEATURE_SEVERITY,
  LABEL_SEVERITY,
  featureKnowledge,
  labelKnowledge,
} from '../../protocol/sample-knowledge.js';
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
  const known = labelKnowledge(sample);
  if (known === 'none') {
    return [featureFinding(sample)];
  }
  const certain = known === 'recovered';
  const { classConfidence = sample.confidence } = sample.label;
  const several = sample.label.classes.length > 1;
  const findings: Finding[] = [
    {
      id: 'label-recovered',
      severity: LABEL_SEVERITY[known],
      title: certain
        ? 'The label can be computed'
        : known === 'class'
          ? 'The class of the label can be computed'
          : 'An attacker could guess the label, and might be wrong',
      evidence: `It is ${labelInWords(sample, facts.className)}; confidence in the class ${confidenceInDigits(classConfidence)}.`,
      mitigation: stopAdvice(facts.sweep),
    },
    featureFinding(sample),
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

function featureFinding(sample: SampleReport): Finding {
  const known = featureKnowledge(sample);
  const { id, ...rest } = FEATURE_FINDINGS[known](sample);
  return { id, severity: FEATURE_SEVERITY[known], ...rest };
}

type FeatureFinding = Omit<Finding, 'severity'>;

const FEATURE_FINDINGS: Record<FeatureKnowledge, (sample: SampleReport) => FeatureFinding> = {
  known: knownFinding,
  estimated: blurredFinding,
  direction: directionFinding,
  sum: sumFinding,
};

function knownFinding(sample: SampleReport): FeatureFinding {
  return {
    id: 'feature-recovered',
    title: 'The last-layer feature can be computed',
    evidence: `All ${sample.featureStatistics.length} numbers (norm ${sample.featureStatistics.norm.toPrecision(4)}). Features like these can identify people, and reconstructing the input starts from them.`,
    mitigation:
      'The same measures as for the label. Freezing the head does not help: the layer below leaks the same way.',
  };
}

/** Of a batch under noise. */
function blurredFinding({ featureStatistics, featureError = 1 }: SampleReport): FeatureFinding {
  return {
    id: 'feature-estimated',
    title: 'The last-layer feature can be estimated',
    evidence: `All ${featureStatistics.length} numbers, with an expected relative error of ${featureError.toPrecision(1)}.`,
    mitigation: stopAdvice(undefined),
  };
}

function directionFinding(sample: SampleReport): FeatureFinding {
  return {
    id: 'feature-direction-recovered',
    title: 'The last-layer feature is known up to its length',
    evidence: `The gradient has rank one, as that of a single sample has, so each of its rows is that sample's feature (${sample.featureStatistics.length} numbers) times one number.`,
    mitigation: stopAdvice(undefined),
  };
}

function sumFinding(sample: SampleReport): FeatureFinding {
  return {
    id: 'feature-sum-recovered',
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
