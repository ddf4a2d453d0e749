import type { EmbeddingReport, ImprintReport, SampleReport, Verdict } from '../protocol/report.js';
import type { GradientShape } from '../recovery/head-gradient.js';
import type { HeadTensors } from './head.js';
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
  if (recovered.cancelled === 'before') {
    return {
      outcome: 'none',
      sentence: 'The audit was stopped before labels were recovered; the checks of the files are complete.',
    };
  }
  if (!sample) {
    const { agreed = [], estimators = [] } = recovered.labelCounts ?? {};
    const known = agreed.filter((count) => count !== null && count > 0).length;
    const size = recovered.batch.size ?? `at least ${recovered.batch.lowerBound}`;
    return {
      outcome: 'counts',
      sentence: `This gradient is of a batch of ${size} samples; how often each class occurs can be told for ${agreed.filter((count) => count !== null).length} of ${tensors.classes} classes (${known} occur), on which most of ${estimators.length} estimators agree.`,
    };
  }
  if (recovered.several.length > 0) {
    return severalVerdict(recovered, tensors);
  }
  if (sample.status === 'not-identifiable') {
    // Noise that hides a label is a defence that worked, not a pair of files that do not fit.
    return { outcome: shape.nature === 'single' ? 'mismatch' : 'none', sentence: sample.reason };
  }
  const names = sample.label.classes
    .slice(0, 3)
    .map(({ index, weight }) =>
      sample.label.classes.length > 1 && weight < 1
        ? `${className(index)} (${(100 * weight).toFixed(1)} %)`
        : className(index),
    );
  const smoothing =
    sample.label.smoothing > 0 ? `, smoothed with epsilon = ${sample.label.smoothing.toPrecision(4)}` : '';
  const what = names.length > 0 ? names.join(' + ') : 'a dense soft label';
  return {
    outcome: 'leaks',
    sentence:
      sample.status === 'recovered'
        ? `This gradient gives away its one sample: ${sample.reconstruction?.verdict === 'exact' ? 'the input itself was computed, ' : ''}the label is ${what}${smoothing}, and all ${tensors.features} numbers of its last-layer feature are known.`
        : `This gradient narrows its one sample down: most likely the label is ${what}${smoothing}, but this is not certain.`,
  };
}

function severalVerdict({ batch, samples }: RecoveredHead, tensors: HeadTensors): Verdict {
  const found = batch.found ?? samples.length;
  const alone = samples.filter(({ multiplicity }) => (multiplicity ?? 1) === 1).length;
  const images = samples.filter(({ reconstruction }) => reconstruction?.verdict === 'exact').length;
  const of = batch.size === null ? `at least ${batch.lowerBound}` : `${batch.size}`;
  const groups = samples.length - alone;
  const grouped =
    groups > 0 ? `; ${found - alone} of them share ${groups} ${groups === 1 ? 'feature' : 'features'}` : '';
  const inputs = images > 0 ? `, and ${images} of the inputs themselves` : '';
  return {
    outcome: 'leaks',
    sentence: `This gradient of a batch gives away ${found} of its ${of} samples one by one: each one's label and all ${tensors.features} numbers of its last-layer feature${inputs}${grouped}.`,
  };
}

/** What embeddings and traps give away, as part of a sentence. */
export function besideHead(embeddings: readonly EmbeddingReport[], imprints: readonly ImprintReport[]): string {
  const tokens = embeddings
    .filter(({ what }) => what === 'tokens')
    .map(({ touched, tensor }) => `${touched} tokens or items by "${tensor}"`);
  const inputs = imprints.map(({ inputs: count, layer }) => `${count} inputs by the trap "${layer}"`);
  return [...tokens, ...inputs].join(', ') || 'the length of the inputs';
}
