import {
  FEATURES_FILE,
  type FeatureStatistics,
  type LandscapeReport,
  type SampleReport,
} from '../../protocol/report.js';
import type { BatchSample } from '../../recovery/batch/batch-result.js';
import type { HeadFactors } from '../../recovery/head-factors.js';
import type { HeadGradient } from '../../recovery/head-gradient.js';
import type { FittedLabel } from '../../recovery/label-family.js';
import { explanationOf } from './explanations.js';
import { landscapeOf } from '../../recovery/landscape.js';
import type { RecoveredSample } from '../../recovery/recovered-sample.js';

/** Recovered samples as the report tells them. */

/** The one sample of a gradient. */
export function describeSample(
  sample: RecoveredSample,
  row: number,
  head: HeadGradient,
  factors: HeadFactors | undefined,
  written: boolean,
): SampleReport {
  const { classConfidence, kindConfidence, openKinds, topRange, smoothingRange } = sample;
  const label = describeLabel(sample.label);
  const [top, ...others] = label.classes;
  const isTold = sample.status !== 'not-identifiable' && top !== undefined;
  return {
    label: {
      ...label,
      ...(isTold
        ? {
            classes: [{ ...top, range: [...topRange] }, ...others],
            classConfidence,
            kindConfidence,
            smoothingRange: [...smoothingRange],
            ...(openKinds.length > 0 ? { openKinds: [...openKinds] } : {}),
          }
        : {}),
    },
    feature: { file: written ? FEATURES_FILE : null, row },
    featureStatistics: statisticsOf(sample.feature),
    scalar: sample.lambda,
    residual: sample.residual,
    residualFloor: sample.residualFloor,
    confidence: sample.confidence,
    method: sample.method,
    explanation: explanationOf(sample.method),
    status: sample.status,
    reason: sample.reason,
    gradientScale: sample.scale,
    ...(sample.isOneTold ? {} : { mayBeSeveral: true as const }),
    landscape: factors && sample.isOneTold ? describeLandscape(head, sample, factors) : null,
  };
}

/** A batch's sample whose feature is known worse than this is a guess, and above the second its kind of label is open. */
export const MOST_FEATURE_ERROR = 0.05;
const MOST_ERROR_OF_KIND = 0.02;

/** One sample of a batch, or one group of samples that the gradient does not tell apart. */
export function describeBatchSample(sample: BatchSample, row: number, written: boolean): SampleReport {
  const { multiplicity, featureError } = sample;
  const label = describeLabel(sample.label);
  const own = sample.errorVector.reduce((top, value) => (Math.abs(value) > Math.abs(top) ? value : top), 0);
  // What noise blurs this much is a guess, and which kind of label it is cannot be told long before.
  const isRecovered = featureError <= MOST_FEATURE_ERROR;
  const isKindKnown = featureError <= MOST_ERROR_OF_KIND;
  const confidence = isRecovered ? sample.confidence : Math.min(sample.confidence, 0.9);
  const error = featureError < 1e-3 ? featureError.toExponential(0) : featureError.toPrecision(1);
  return {
    label: {
      ...label,
      kind: isKindKnown ? label.kind : 'undetermined',
      classConfidence: confidence,
      kindConfidence: isKindKnown ? confidence : 0.5,
    },
    feature: { file: written ? FEATURES_FILE : null, row },
    featureStatistics: statisticsOf(sample.feature),
    scalar: 1 / (sample.coefficient * own),
    residual: sample.residual,
    residualFloor: sample.residualFloor,
    confidence,
    method: 'batch-head',
    explanation: explanationOf('batch-head'),
    status: isRecovered ? 'recovered' : 'ambiguous',
    reason:
      multiplicity > 1
        ? `${multiplicity} samples of this class have features so alike that the gradient holds only their sum: the feature is their mean, and their number follows from their weight in the gradient.`
        : `Feature and label solve the equations that the head sets for each sample, to within the noise of the gradient, and weigh in it what one sample weighs. The feature's expected relative error is ${error}.`,
    gradientScale: 1,
    landscape: null,
    multiplicity,
    share: sample.share,
    featureError,
  };
}

function describeLabel(label: FittedLabel): SampleReport['label'] {
  return {
    probabilities: [...label.probabilities],
    kind: label.kind,
    smoothing: label.smoothing,
    classes: label.classes.map(({ index, weight }) => ({ index, weight })),
  };
}

function describeLandscape(head: HeadGradient, sample: RecoveredSample, factors: HeadFactors): LandscapeReport | null {
  return landscapeOf(head, sample, factors.row) ?? null;
}

const PREVIEW_LENGTH = 512;

function statisticsOf(feature: Float64Array): FeatureStatistics {
  let min = Infinity;
  let max = -Infinity;
  let sum = 0;
  let squares = 0;
  for (const value of feature) {
    min = Math.min(min, value);
    max = Math.max(max, value);
    sum += value;
    squares += value * value;
  }
  const nearZero = 1e-6 * Math.max(Math.abs(min), Math.abs(max));
  const bins = Math.min(PREVIEW_LENGTH, feature.length);
  const preview = Array.from({ length: bins }, (_, bin) => {
    const from = Math.floor((bin * feature.length) / bins);
    const to = Math.floor(((bin + 1) * feature.length) / bins);
    const part = feature.subarray(from, to);
    return part.reduce((total, value) => total + value, 0) / part.length;
  });
  return {
    length: feature.length,
    min,
    max,
    mean: sum / feature.length,
    norm: Math.sqrt(squares),
    zeroShare: feature.filter((value) => Math.abs(value) <= nearZero).length / feature.length,
    preview,
  };
}
