import { type Summands, sumFile } from '../formats/sum-file.js';
import type { TensorEntry, TensorFile } from '../formats/tensor-file.js';
import { differenceEvidence } from '../kinds/difference.js';
import { onOwnGrid } from '../kinds/rounding.js';
import { samplePairs } from '../kinds/sampling.js';
import { isLaterState } from '../kinds/two-states.js';
import { type WeightDecay, decayAgain, weightDecayOf } from '../kinds/weight-decay.js';
import { UnusableInputError } from '../protocol/errors.js';
import { isCapturedTraining } from './capture.js';
import { type Matching, matchTensors } from './matching.js';

/** What is read as the gradient, and what the file that was given holds besides. */
export interface ReadUpdate {
  readonly gradients: TensorFile;
  /** Where it is not the file as it was given. */
  readonly origin?: UpdateOrigin;
}

export interface UpdateOrigin {
  /** The difference of weights with everything that is in it. */
  readonly difference: TensorFile;
  readonly pairs: Matching['pairs'];
  /** The weights after, where these were given. */
  readonly after: TensorFile | undefined;
  /** What was taken off the difference. */
  readonly decay: WeightDecay | undefined;
}

/** The difference, where the file given holds later weights of the checkpoint's own model; a difference without its weight decay. */
export function readUpdate(checkpoint: TensorFile, given: TensorFile): ReadUpdate {
  const matching = matchingIfAny(checkpoint, given);
  if (!matching) {
    return { gradients: given };
  }
  const isStated = isCapturedTraining(checkpoint.path, given.path);
  const after = isLaterState(checkpoint, given, matching.pairs, isStated) ? given : undefined;
  const difference = after ? differenceOf(checkpoint, after, matching) : given;
  const samples = onOwnGrid(samplePairs(checkpoint, difference, matching.pairs));
  const decay = after || differenceEvidence(samples) ? weightDecayOf(samples) : undefined;
  return after || decay
    ? {
        gradients: decay ? withoutDecay(checkpoint, difference, matching, decay) : difference,
        origin: { difference, pairs: matching.pairs, after, decay },
      }
    : { gradients: given };
}

/** Whether a file holds weights of the checkpoint's own model after some training, or before: only their order tells which. */
export function holdsOtherState(checkpoint: TensorFile, given: TensorFile): boolean {
  const matching = matchingIfAny(checkpoint, given);
  return matching !== undefined && isLaterState(checkpoint, given, matching.pairs, false);
}

/** What does not match is told of by whoever needs the matching. */
function matchingIfAny(checkpoint: TensorFile, given: TensorFile): Matching | undefined {
  try {
    return matchTensors(checkpoint, given);
  } catch (error) {
    if (error instanceof UnusableInputError) {
      return undefined;
    }
    throw error;
  }
}

function differenceOf(checkpoint: TensorFile, after: TensorFile, matching: Matching): TensorFile {
  const pairs = [
    ...matching.pairs.map(({ gradient, parameter }) => ({ first: gradient, second: parameter })),
    ...buffersOf(checkpoint, after, matching),
  ];
  const place = new Map(after.entries.map(({ name }, index) => [name, index]));
  const placeOf = ({ first }: Named): number => place.get(first.name) ?? 0;
  // A list is matched by its order once more.
  pairs.sort((one, other) => placeOf(one) - placeOf(other));
  return sumFile(
    after,
    checkpoint,
    pairs.map((pair) => ({ ...pair, factor: -1 })),
  );
}

/** Another file of the same update, such as one that a defence changed, read the same way. */
export function readAgain(checkpoint: TensorFile, file: TensorFile, { origin }: ReadUpdate): TensorFile {
  if (!origin?.decay) {
    return file;
  }
  const sent = new Set(file.entries.map(({ name }) => name));
  const head = origin.pairs.findLast(
    ({ gradient, parameter }) => sent.has(gradient.name) && parameter.shape.length === 2,
  );
  const samples = head ? samplePairs(checkpoint, file, [head]) : [];
  return withoutDecay(checkpoint, file, origin, decayAgain(samples, origin.decay));
}

function withoutDecay(
  checkpoint: TensorFile,
  difference: TensorFile,
  { pairs }: Pick<Matching, 'pairs'>,
  { factor, vectors }: WeightDecay,
): TensorFile {
  const parameters = new Map(pairs.map(({ gradient, parameter }) => [gradient.name, parameter]));
  const sums = difference.entries.map((first): Summands => {
    const second = parameters.get(first.name);
    const decays = second && (vectors || second.shape.length > 1);
    return { first, second: second ?? first, factor: decays ? -factor : 0 };
  });
  return sumFile(difference, checkpoint, sums);
}

type Named = Pick<Summands, 'first' | 'second'>;

/** What is no parameter lies at the same place, or has the same name but for the prefix that the parameters differ by. */
function buffersOf(checkpoint: TensorFile, after: TensorFile, { pairs, how }: Matching): Named[] {
  const [example] = pairs;
  if (!example) {
    return [];
  }
  const taken = new Set(pairs.map(({ gradient }) => gradient.name));
  const before = how === 'order' ? byPlace(checkpoint, after) : byPrefix(checkpoint, example);
  return after.entries
    .filter(({ name }) => !taken.has(name))
    .flatMap((first) => {
      const second = before(first);
      return second && sameShape(second, first) ? [{ first, second }] : [];
    });
}

type Counterpart = (entry: TensorEntry) => TensorEntry | undefined;

function byPlace({ entries }: TensorFile, after: TensorFile): Counterpart {
  const isWhole = entries.length === after.entries.length;
  return (entry) => (isWhole ? entries[after.entries.indexOf(entry)] : undefined);
}

function byPrefix(checkpoint: TensorFile, { gradient, parameter }: Matching['pairs'][number]): Counterpart {
  const byName = new Map(checkpoint.entries.map((entry) => [entry.name, entry]));
  const common = commonEnding(gradient.name, parameter.name);
  const prefix = gradient.name.slice(0, gradient.name.length - common);
  const other = parameter.name.slice(0, parameter.name.length - common);
  return ({ name }) => (name.startsWith(prefix) ? byName.get(other + name.slice(prefix.length)) : undefined);
}

function commonEnding(one: string, other: string): number {
  const most = Math.min(one.length, other.length);
  let length = 0;
  while (length < most && one.at(-1 - length) === other.at(-1 - length)) {
    length++;
  }
  return length;
}

function sameShape({ shape }: TensorEntry, other: TensorEntry): boolean {
  return shape.length === other.shape.length && shape.every((size, axis) => size === other.shape[axis]);
}
