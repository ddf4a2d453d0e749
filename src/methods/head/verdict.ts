import type { SampleReport, Verdict } from '../../protocol/report.js';
import type { GradientShape } from '../../recovery/head-gradient.js';
import { SURE_CLASS } from '../../protocol/sample-knowledge.js';
import { labelInWords } from '../../words/label-words.js';
import type { HeadTensors } from '../../facts/head.js';
import type { RecoveredHead } from './recover-head.js';

/** What was found, in one sentence. */
export function verdictOf(
  recovered: RecoveredHead,
  samples: readonly SampleReport[],
  tensors: HeadTensors,
  className: (index: number) => string,
  shape: GradientShape,
): Verdict {
  const [sample] = samples;
  // Others may be in the batch that add nothing.
  const whose = recovered.batch.size === null && shape.nature === 'single' ? 'one sample' : 'its one sample';
  if (recovered.cancelled === 'before') {
    return {
      outcome: 'none',
      sentence: 'The audit was stopped before labels were recovered; the checks of the files are complete.',
    };
  }
  if (!sample) {
    const { agreed = [], estimators = [], confirmedBy } = recovered.labelCounts ?? {};
    const known = agreed.filter((count) => count !== null && count > 0).length;
    const told = agreed.filter((count) => count !== null).length;
    const size = recovered.batch.size ?? `at least ${recovered.batch.lowerBound}`;
    return {
      outcome: 'counts',
      sentence:
        typeof confirmedBy === 'string'
          ? `This gradient gives away how often each of ${tensors.classes} classes occurs in its batch of ${size} samples: ${known} ${known === 1 ? 'occurs' : 'occur'}.`
          : `This gradient is of a batch of ${size} samples, of which the head tells none from the others. How often each class occurs can only be estimated: most of ${estimators.length} estimators agree on ${told} of ${tensors.classes} classes, and nothing confirms them.`,
    };
  }
  if (recovered.several.length > 0) {
    return severalVerdict(recovered, tensors);
  }
  if (recovered.single?.isOneTold === false) {
    return {
      outcome: 'leaks',
      sentence: `This gradient gives away a weighted sum of its samples' last-layer features. ${sample.reason}`,
    };
  }
  if (sample.status === 'not-identifiable') {
    if (sample.method.endsWith('-sigmoid')) {
      // Sums that rule out softmax cross-entropy tell of another loss as well as of another checkpoint.
      return { outcome: 'not-assessed', sentence: sample.reason };
    }
    if (shape.nature === 'single') {
      return { outcome: 'mismatch', sentence: sample.reason };
    }
    // Noise that hides a label is a defence that worked, not a pair of files that do not fit.
    const noise = `noise of standard deviation ${shape.noise.toPrecision(2)} per number`;
    return shape.nature === 'hidden'
      ? {
          outcome: 'none',
          sentence: `Nothing was found by the methods that apply: ${noise} hides the head's gradient from them.`,
        }
      : {
          outcome: 'leaks',
          sentence: `This gradient gives away the direction of its one sample's feature; under ${noise} its label was not told. ${sample.reason}`,
        };
  }
  const smoothing =
    sample.label.smoothing > 0 ? `, smoothed with epsilon = ${sample.label.smoothing.toPrecision(4)}` : '';
  const what = labelInWords(sample, className);
  const { classConfidence = sample.confidence } = sample.label;
  const isOpen = sample.label.kind === 'undetermined';
  const withTruth =
    sample.reconstruction?.usedTruth !== true
      ? ''
      : ['uncertain', 'failed'].includes(sample.reconstruction.verdict)
        ? ' The input was looked for with the true label, and the gradient does not confirm what came of it.'
        : ' The input was reconstructed with the true label.';
  return {
    outcome: 'leaks',
    sentence:
      sample.status === 'recovered'
        ? `This gradient gives away ${whose}: ${sample.reconstruction?.verdict === 'exact' && withTruth === '' ? 'the input itself was computed, ' : ''}the label is ${what}${smoothing}, and all ${tensors.features} numbers of its last-layer feature are known.${withTruth}`
        : classConfidence >= SURE_CLASS
          ? `This gradient gives away the class of ${whose}: ${what}${isOpen ? '' : `${smoothing}, known to about ${(100 * Math.max(spreadOf(sample), 0.01)).toFixed(0)} %`}.${withTruth}`
          : `This gradient narrows ${whose} down: most likely the label is ${what}${isOpen ? '' : smoothing}, but this is not certain.${withTruth}`,
  };
}

/** Half the interval of the label's largest entry. */
function spreadOf({ label }: SampleReport): number {
  const [low, high] = label.classes[0]?.range ?? [0, 0];
  return (high - low) / 2;
}

function severalVerdict({ batch, samples }: RecoveredHead, tensors: HeadTensors): Verdict {
  const sure = samples.filter(({ status }) => status === 'recovered');
  if (sure.length === 0) {
    return {
      outcome: 'leaks',
      sentence: `This gradient of a batch narrows ${samples.length} of its samples down, but noise leaves each of them uncertain.`,
    };
  }
  const found = sure.reduce((sum, { multiplicity = 1 }) => sum + multiplicity, 0);
  const alone = sure.filter(({ multiplicity }) => (multiplicity ?? 1) === 1).length;
  const images = samples.filter(({ reconstruction }) => reconstruction?.verdict === 'exact').length;
  const of = batch.size === null ? `at least ${batch.lowerBound}` : `${batch.size}`;
  const groups = sure.length - alone;
  const grouped =
    groups > 0 ? `; ${found - alone} of them share ${groups} ${groups === 1 ? 'feature' : 'features'}` : '';
  const inputs = images > 0 ? `, and ${images} of the inputs themselves` : '';
  if (found === 1 && batch.size === 1) {
    const image = images > 0 ? ', and the input itself' : '';
    return {
      outcome: 'leaks',
      sentence: `This gradient gives away its one sample: the label and all ${tensors.features} numbers of its last-layer feature${image}.`,
    };
  }
  return {
    outcome: 'leaks',
    sentence: `This gradient of a batch gives away ${found === batch.size ? `all ${found}` : `${found} of its ${of}`} samples one by one: each one's label and all ${tensors.features} numbers of its last-layer feature${inputs}${grouped}.`,
  };
}
