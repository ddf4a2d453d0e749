import type { Certificate, Detail } from '../../protocol/detail.js';
import type { Finding } from '../../protocol/report.js';
import { most, norm } from '../../recovery/vectors.js';
import { counted } from '../../words/count-words.js';
import type { Training } from '../client-labels/client-counts.js';
import type { HiddenSamples } from '../hidden-layer/hidden-samples.js';
import type { Leak } from '../method.js';
import type { ClientImages } from './client-images.js';

/** What is told of a client's samples, with what confirms each. */

/** Expected errors of features, relative to their size, that are called close. */
const CLOSE = 0.05;
const FILE = 'client-features';
const MOST_ROWS = 256;

export function clientLeak(
  found: HiddenSamples,
  training: Training,
  images: ClientImages,
  named: (index: number) => string,
): Leak {
  const { weight, inputs, separation } = found;
  const { samples } = separation;
  const errors = samples.map(({ error, input }) => error / (norm(input) / Math.sqrt(inputs)));
  const worst = most(errors);
  const verdict: Certificate['verdict'] = worst <= CLOSE ? 'close' : 'uncertain';
  const count = counted(samples.length, 'sample');
  const told = samples.every(({ label }) => label) ? 'labels and features' : 'features';
  const data = new Float64Array(samples.length * inputs);
  samples.forEach(({ input }, at) => data.set(input, at * inputs));
  return {
    noun: 'Samples',
    what: `${told} of ${samples.length === training.samples ? 'all' : `${samples.length} of`} ${counted(training.samples, 'sample')} of the client`,
    brief: `${told} of ${count}`,
    title: 'Samples of the client, one by one',
    amount: count,
    sample: null,
    tensor: weight,
    certificate: {
      by: 'equations',
      error: most(samples.map(({ label, leftOver }) => label?.off ?? leftOver)),
      floor: null,
      expectedError: most(samples.map(({ error }) => error)),
      verdict,
    },
    gives: { inputs: 0, tokens: 0 },
    details: [
      { type: 'text', text: textOf(found, training, images) },
      tableOf(found, errors, images, named),
      ...images.found.map(({ sample }): Detail => {
        const label = samples[sample]?.label;
        return {
          type: 'picture',
          title: `Sample ${sample + 1}${label ? `: ${named(label.index)}` : ''}`,
          shape: [...images.shape],
          file: `client-image-${sample}.npy`,
          ...(images.normalisation ? { normalisation: images.normalisation } : {}),
        };
      }),
    ],
    findings: [findingOf(found, training, images, worst)],
    arrays: [
      { name: FILE, shape: [samples.length, inputs], data },
      ...images.found.map(({ sample, values }) => ({
        name: `client-image-${sample}`,
        shape: [1, ...images.shape],
        data: values,
      })),
    ],
  };
}

function textOf({ weight, separation }: HiddenSamples, { samples: stated }: Training, { words }: ClientImages): string {
  const { rank, samples } = separation;
  const open =
    samples.length < stated
      ? ` Of the ${counted(stated, 'sample')} stated, ${rank} stand out of the rounding of the weights, and ${samples.length} are told to a tenth of their size or better.`
      : '';
  return `In one epoch each sample is seen once, so the update of \`${weight}\` is a sum of one product for each: its input, which is nowhere below a bound (zero above a rectifier) and often at it, and its slopes at the units. The inputs were found by that. They leave no choice of the slopes, and these vanish where each input leaves units silent${samples.every(({ label }) => label) ? ', and are those that the classifier asks for at one class, at weights between the first and the last: that is how each is confirmed, and how its label is told' : ': that is how each is confirmed. No classifier was found right above the layer, so that labels are not told'}.${open} ${words}`;
}

function tableOf(
  { separation, units }: HiddenSamples,
  errors: readonly number[],
  images: ClientImages,
  named: (index: number) => string,
): Detail {
  const left = new Map(images.found.map(({ sample, residual }) => [sample, residual]));
  return {
    type: 'table',
    title: 'What is told of each sample, and what confirms it',
    columns: [
      { title: 'Sample', isNumber: true },
      { title: 'Class' },
      {
        title: 'Off',
        hint: 'its slopes from those of this class, relative; another class leaves about 1',
        isNumber: true,
      },
      { title: 'Silent units', hint: `of ${units}, whose slopes vanish`, isNumber: true },
      { title: 'Expected error', hint: 'of its features, relative to their root mean square', isNumber: true },
      {
        title: 'Left by its image',
        hint: "of its features, relative to their size; '-' where there is none",
        isNumber: true,
      },
    ],
    rows: separation.samples.slice(0, MOST_ROWS).map(({ label, silent }, at) => ({
      cells: [
        String(at + 1),
        label ? named(label.index) : '?',
        label ? label.off.toExponential(1) : '?',
        String(silent),
        (errors[at] ?? NaN).toExponential(1),
        left.get(at)?.toExponential(1) ?? '-',
      ],
    })),
  };
}

function findingOf(
  { weight, separation }: HiddenSamples,
  training: Training,
  images: ClientImages,
  worst: number,
): Finding {
  const { samples } = separation;
  const told = samples.filter(({ label }) => label).length;
  return {
    id: 'client-samples-told',
    severity: 'high',
    title: 'What a client trained on can be told sample by sample',
    evidence: `${samples.length} of ${counted(training.samples, 'sample')}, told from the update of \`${weight}\` alone: the features that enter it, each to an expected relative error of at most ${worst.toExponential(1)}${told > 0 ? `, and ${counted(told, 'label')}, each by the slopes that its class asks for` : ''}.${images.found.length > 0 ? ` Images that have these features were computed for ${images.found.length}; how near they are to the true ones is not known.` : ''}`,
    mitigation:
      'Train for several local epochs, or on more samples than half of the layer’s units: no method here tells those apart, and either may leave other ways. Aggregate securely over many clients, or clip and add noise (differential privacy).',
  };
}
