import type { Certificate, Detail } from '../../protocol/detail.js';
import type { Normalisation } from '../../protocol/normalisations.js';
import type { Finding } from '../../protocol/report.js';
import { most, norm } from '../../recovery/vectors.js';
import { counted } from '../../words/count-words.js';
import type { Leak, NamedArray } from '../method.js';
import type { HiddenSamples } from './hidden-samples.js';

/** What is told of a batch that a hidden layer tells apart. */

export interface HiddenPicture {
  /** Whether what enters the layer is the network's input. */
  readonly isInput: boolean;
  /** Channels, height, width; undefined where the inputs are not drawn here. */
  readonly shape: readonly number[] | undefined;
  readonly normalisation: Normalisation | undefined;
}

/** Expected errors of the inputs, relative to their size, that are called exact, and close. */
const PRECISE = 1e-3;
const CLOSE = 0.05;
const MOST_PICTURES = 32;
const MOST_ROWS = 128;
const FILE = 'hidden-inputs';

export function hiddenLeak(found: HiddenSamples, picture: HiddenPicture): Leak {
  const { weight, separation, isComplete } = found;
  const { samples } = separation;
  const errors = errorsOf(found);
  const worst = most(errors);
  const verdict: Certificate['verdict'] =
    isComplete && worst <= PRECISE ? 'exact' : worst <= CLOSE ? 'close' : 'uncertain';
  const count = counted(samples.length, 'sample');
  const what = picture.isInput
    ? `${counted(samples.length, 'input')} of the batch`
    : `what enters ${weight}, for ${count}`;
  return {
    noun: picture.isInput ? 'Inputs' : 'Features',
    what: `${what}${isComplete ? '' : `, of at least ${separation.rank}`}`,
    brief: picture.isInput ? counted(samples.length, 'input') : `features of ${count}`,
    title: picture.isInput ? 'Inputs of the batch, told apart' : 'Samples of the batch, told apart in a hidden layer',
    amount: count,
    sample: null,
    tensor: weight,
    certificate: {
      by: 'equations',
      error: most(samples.map(({ leftOver }) => leftOver)),
      floor: null,
      expectedError: most(samples.map(({ error }) => error)),
      verdict,
    },
    gives: { inputs: picture.isInput && verdict === 'exact' ? samples.length : 0, tokens: 0 },
    details: [{ type: 'text', text: textOf(found) }, tableOf(found, errors), ...picturesOf(found, picture)],
    findings: [findingOf(found, picture, verdict, worst)],
    arrays: arraysOf(found, picture),
  };
}

function errorsOf({ separation, inputs }: HiddenSamples): number[] {
  return separation.samples.map(({ error, input }) => error / (norm(input) / Math.sqrt(inputs)));
}

function textOf({ weight, units, separation, isComplete }: HiddenSamples): string {
  const { rank, gap, isJoint } = separation;
  const open = isComplete
    ? ''
    : ` Of the others only that they are there is known: ${counted(rank, 'direction')} stand out of the noise in all.`;
  return `The gradient of \`${weight}\` is the sum of each sample's input times its slopes at the ${units} units, so it has one direction for each sample: ${rank}, the last one ${gap >= 1000 ? 'more than 1000' : gap.toPrecision(2)} times above the noise. Inputs above a rectifier are not negative and often zero, and slopes are zero where a unit is silent${isJoint ? '. All inputs together leave no choice of the slopes, and these are zero where each input leaves units silent: that confirms all of them together.' : '; no mixture of samples is so often. Each input tells with the weights which units it leaves silent, which nothing before made use of, and its slopes are zero there: that confirms each sample by itself.'}${open}`;
}

function tableOf({ separation, units }: HiddenSamples, errors: readonly number[]): Detail {
  return {
    type: 'table',
    title: 'What confirms each sample',
    columns: [
      { title: 'Sample', isNumber: true },
      { title: 'Silent units', hint: `of ${units}, as the input tells with the weights`, isNumber: true },
      {
        title: 'Left of their slopes',
        hint: 'root mean square of the slopes of silent units over that of the others; a wrong input leaves about 1',
        isNumber: true,
      },
      { title: 'Expected error', hint: "of each number, relative to the input's root mean square", isNumber: true },
    ],
    rows: separation.samples.slice(0, MOST_ROWS).map(({ silent, leftOver }, at) => ({
      cells: [String(at + 1), String(silent), leftOver.toExponential(1), (errors[at] ?? NaN).toExponential(1)],
    })),
  };
}

function picturesOf({ separation }: HiddenSamples, { shape, normalisation }: HiddenPicture): Detail[] {
  return shape
    ? separation.samples.slice(0, MOST_PICTURES).map((_, at) => ({
        type: 'picture',
        title: `Input ${at + 1}`,
        shape: [...shape],
        file: `${FILE}-${at}.npy`,
        ...(normalisation ? { normalisation } : {}),
      }))
    : [];
}

function arraysOf({ separation, inputs }: HiddenSamples, { shape }: HiddenPicture): NamedArray[] {
  const { samples } = separation;
  const data = new Float64Array(samples.length * inputs);
  samples.forEach(({ input }, at) => data.set(input, at * inputs));
  const all = { name: FILE, shape: [samples.length, inputs], data };
  return shape
    ? [
        all,
        ...samples
          .slice(0, MOST_PICTURES)
          .map(({ input }, at) => ({ name: `${FILE}-${at}`, shape: [1, ...shape], data: input })),
      ]
    : [all];
}

function findingOf(
  { weight, separation, isComplete }: HiddenSamples,
  { isInput }: HiddenPicture,
  verdict: Certificate['verdict'],
  worst: number,
): Finding {
  const { rank, samples } = separation;
  const silent = samples.reduce((sum, own) => sum + own.silent, 0) / samples.length;
  return {
    id: 'hidden-samples-computed',
    severity: isInput && verdict === 'exact' ? 'critical' : 'high',
    title: isInput
      ? 'The training inputs of the batch can be computed, one by one'
      : 'The samples of the batch can be told apart in a hidden layer',
    evidence: `${isComplete ? `All ${counted(samples.length, 'sample')} that stand out of the noise, told` : `${samples.length} of at least ${counted(rank, 'sample')}, told`} from the gradient of \`${weight}\`, ${isInput ? 'whose input is the network’s' : 'as the features that enter it'}, each to an expected relative error of at most ${worst.toExponential(1)}; the slopes of the ${Math.round(silent)} units that each leaves silent vanish. That a batch is larger than the number of classes does not hide it here. In measurements, batches of up to an eighth of a layer’s units were told apart, and some larger ones.`,
    mitigation:
      'Withhold the gradient of this layer, or use batches of more samples than half of its units, which no method here tells apart: that closes this way and may leave others. Aggregate securely over many clients, or clip and add noise (differential privacy).',
  };
}
