import { UnusableInputError } from '../protocol/errors.js';
import { type TensorEntry, type TensorFile, isFloating } from '../formats/tensor-file.js';

/** Names and shapes of a file. */
type Listing = Pick<TensorFile, 'path' | 'entries'>;

/** Which gradient belongs to which parameter of the checkpoint. */
export interface TensorPair {
  readonly gradient: TensorEntry;
  readonly parameter: TensorEntry;
  /** False when a list without names fits the checkpoint in more than one way at this place. */
  readonly certain: boolean;
}

export interface Matching {
  readonly pairs: readonly TensorPair[];
  readonly how: 'names' | 'order';
  /** Gradients that belong to no parameter. */
  readonly unmatched: readonly TensorEntry[];
  /** Other parts of the checkpoint that would fit as well, such as an averaged copy. */
  readonly alternatives: readonly string[];
}

const BUFFER = /(^|[./])(running_mean|running_var|num_batches_tracked|moving_mean|moving_variance)$/;
const BOOKKEEPING = /(^|\.)(optimizers?|optimizer_states?|optim|lr_schedulers?|schedulers?|scaler|amp)(\.|$)/;

/** What numpy and people call arrays that have no names. */
const NAMELESS = /^(arr_\d+|grads?_?\d*|\d+|array|tensor)$/;

/** True for what a gradient can belong to: trained floating-point tensors, no statistics, no optimiser state. */
function isParameter(entry: TensorEntry): boolean {
  return (
    entry.role !== 'buffer' && isFloating(entry.dtype) && !BUFFER.test(entry.name) && !BOOKKEEPING.test(entry.name)
  );
}

/** Names deeper than this are compared by their last components. */
const MOST_COMPONENTS = 24;
/** Pairs of equal endings; a network has one for each tensor, times its copies in the file. */
const MOST_PAIRS = 2 ** 18;

/** `dense/kernel:0` and `dense.kernel` are one name; PEFT saves an adapter without the name that it has in training. */
function dotted(name: string): string {
  return name
    .replace(/:0$/, '')
    .replaceAll('/', '.')
    .replace(/\.(lora_[AB])\.[^.]+\.weight$/, '.$1.weight');
}

/** Where the endings of a dotted name begin, the longest first. */
function endingsOf(name: string): number[] {
  const starts: number[] = [];
  for (let at = name.length; at >= 0 && starts.length < MOST_COMPONENTS;) {
    at = at === 0 ? -1 : name.lastIndexOf('.', at - 1);
    starts.unshift(at + 1);
  }
  return starts;
}

/** What stands before an ending. */
function prefixOf(name: string, ending: number): string {
  return name.slice(0, Math.max(0, ending - 1));
}

/**
 * Matches by name (any prefix such as `module.` or `state_dict.` may differ), and lists without names
 * by order and shape.
 *
 * @throws UnusableInputError when nothing fits or shapes contradict the names
 */
export function matchTensors(checkpoint: Listing, gradients: Listing): Matching {
  const parameters = checkpoint.entries.filter(isParameter);
  const dumped = gradients.entries.filter((entry) => isFloating(entry.dtype) && !BUFFER.test(entry.name));
  if (parameters.length === 0 || dumped.length === 0) {
    const empty = parameters.length === 0 ? checkpoint : gradients;
    throw new UnusableInputError({
      code: 'no-match',
      file: empty.path,
      found: `${empty.entries.length} tensors, none of them floating point`,
      expected: 'weights or gradients',
      advice: 'Check that this is the file you meant.',
    });
  }
  const nameless = dumped.every((entry) => entry.positional || NAMELESS.test(entry.name));
  const byName = nameless ? undefined : matchByName(parameters, dumped, checkpoint, gradients);
  return byName ?? matchByOrder(parameters, dumped, checkpoint, gradients);
}

function matchByName(
  parameters: readonly TensorEntry[],
  dumped: readonly TensorEntry[],
  checkpoint: Listing,
  gradients: Listing,
): Matching | undefined {
  const byEnding = parametersByEnding(parameters);
  const votes = new Votes(gradients.path);
  for (const gradient of dumped) {
    const name = dotted(gradient.name);
    const endings = endingsOf(name);
    const longest = endings.findIndex((at) => byEnding.has(name.slice(at)));
    const start = endings[longest];
    // A lone `weight` or `bias` says nothing about which layer it is.
    if (start === undefined || (longest === endings.length - 1 && start > 0)) {
      continue;
    }
    const ending = name.slice(start);
    const prefix = prefixOf(name, start);
    for (const own of byEnding.get(ending) ?? []) {
      const pair = { gradient, parameter: own.parameter, certain: true };
      votes.add(prefix, prefixOf(own.name, own.name.length - ending.length), pair);
    }
  }
  const [best, ...others] = votes.ranked();
  if (!best) {
    return undefined;
  }
  const { pairs } = best;
  const contradiction = pairs.find(({ gradient, parameter }) => !sameShape(gradient, parameter));
  if (contradiction) {
    throw shapeMismatch(contradiction, gradients, checkpoint);
  }
  const matched = new Set(pairs.map(({ gradient }) => gradient));
  return {
    pairs,
    how: 'names',
    unmatched: dumped.filter((entry) => !matched.has(entry)),
    alternatives: others
      .filter((own) => own.gradientPrefix === best.gradientPrefix && own.pairs.length === pairs.length)
      .map(({ parameterPrefix }) => parameterPrefix),
  };
}

interface Named {
  readonly parameter: TensorEntry;
  readonly name: string;
}

function parametersByEnding(parameters: readonly TensorEntry[]): Map<string, Named[]> {
  const byEnding = new Map<string, Named[]>();
  for (const parameter of parameters) {
    const own = { parameter, name: dotted(parameter.name) };
    for (const at of endingsOf(own.name)) {
      const ending = own.name.slice(at);
      const list = byEnding.get(ending);
      if (list) {
        list.push(own);
      } else {
        byEnding.set(ending, [own]);
      }
    }
  }
  return byEnding;
}

interface Vote {
  readonly gradientPrefix: string;
  readonly parameterPrefix: string;
  readonly pairs: TensorPair[];
}

/** Every gradient votes for the pair of prefixes under which its longest ending is found. */
class Votes {
  private readonly all: Vote[] = [];
  private readonly byPrefixes = new Map<string, Map<string, Vote>>();
  private count = 0;

  constructor(private readonly path: string) {}

  /** @throws UnusableInputError when names say as good as nothing */
  add(gradientPrefix: string, parameterPrefix: string, pair: TensorPair): void {
    if (++this.count > MOST_PAIRS) {
      throw new UnusableInputError({
        code: 'ambiguous-match',
        file: this.path,
        found: `names whose endings fit those of parameters in more than ${MOST_PAIRS} ways`,
        expected: 'names that say which parameter each gradient is of',
        advice: 'Save the gradients under the names that the checkpoint gives its parameters.',
      });
    }
    const own = this.byPrefixes.get(gradientPrefix) ?? new Map<string, Vote>();
    this.byPrefixes.set(gradientPrefix, own);
    const vote = own.get(parameterPrefix);
    if (vote) {
      vote.pairs.push(pair);
    } else {
      const first = { gradientPrefix, parameterPrefix, pairs: [pair] };
      own.set(parameterPrefix, first);
      this.all.push(first);
    }
  }

  ranked(): Vote[] {
    return this.all.sort((one, other) => other.pairs.length - one.pairs.length);
  }
}

function shapeMismatch(
  { gradient, parameter }: TensorPair,
  gradients: Listing,
  checkpoint: Listing,
): UnusableInputError {
  return new UnusableInputError({
    code: 'shape-mismatch',
    file: gradients.path,
    found: `gradient "${gradient.name}" of shape [${gradient.shape.join(', ')}]`,
    expected: `[${parameter.shape.join(', ')}], the shape of "${parameter.name}" in ${checkpoint.path}`,
    advice: 'The gradient belongs to another model: choose the checkpoint it was computed with.',
  });
}

/**
 * Lists follow the order of the parameters, possibly with frozen ones left out. The leftmost and the
 * rightmost way to fit the shapes agree exactly where the assignment is certain. A list as long as the whole state is
 * the state, buffers included, as Flower's clients send it.
 */
function matchByOrder(
  parameters: readonly TensorEntry[],
  dumped: readonly TensorEntry[],
  checkpoint: Listing,
  gradients: Listing,
): Matching {
  const whole = matchWholeState(checkpoint, gradients);
  if (whole) {
    return whole;
  }
  const left = fitLeftmost(dumped, parameters);
  const right = fitLeftmost([...dumped].reverse(), [...parameters].reverse())
    ?.map((at) => parameters.length - 1 - at)
    .reverse();
  if (!left || !right) {
    throw new UnusableInputError({
      code: 'no-match',
      file: gradients.path,
      found: `${dumped.length} gradients of shapes ${shapesOf(dumped)}`,
      expected: `names, or the order and shapes of the ${parameters.length} parameters of ${checkpoint.path}: ${shapesOf(parameters)}`,
      advice:
        'The gradient belongs to another model, or was saved in another order: choose the checkpoint it was computed with.',
    });
  }
  const pairs = dumped.flatMap((gradient, index): TensorPair[] => {
    const parameter = parameters[left[index] ?? -1];
    return parameter ? [{ gradient, parameter, certain: left[index] === right[index] }] : [];
  });
  return { pairs, how: 'order', unmatched: [], alternatives: [] };
}

/**
 * Every entry of both files in turn, or every floating-point one, where their shapes are the same one by one. A list of the
 * parameters alone has as many entries as a state without buffers, and then it is the same.
 */
function matchWholeState(checkpoint: Listing, gradients: Listing): Matching | undefined {
  const state = stateOf(checkpoint);
  const list = stateOf(gradients);
  const isFloat = ({ dtype }: TensorEntry): boolean => isFloating(dtype);
  for (const [own, other] of [
    [list, state],
    [list.filter(isFloat), state.filter(isFloat)],
  ] as const) {
    if (own.length === other.length && own.every((entry, index) => isShapedLike(entry, other[index]))) {
      const buffers = new Set([...bufferPositions(own), ...bufferPositions(other)]);
      const pairs = own.flatMap((gradient, index): TensorPair[] => {
        const parameter = other[index];
        return parameter && isFloating(gradient.dtype) && isParameter(parameter) && !buffers.has(index)
          ? [{ gradient, parameter, certain: true }]
          : [];
      });
      return { pairs, how: 'order', unmatched: [], alternatives: [] };
    }
  }
  return undefined;
}

/** What a state dict holds, in its order: parameters and buffers, no optimiser state. */
function stateOf({ entries }: Listing): TensorEntry[] {
  return entries.filter(({ name }) => !BOOKKEEPING.test(name));
}

/** Weight, bias, mean and variance of a normalised layer, before the count of its batches. */
const NORMALISED = 4;

/** Places in a list without names that batch normalisation's statistics take: a whole number after four vectors of one length. */
function bufferPositions(list: readonly TensorEntry[]): number[] {
  return list.flatMap((entry, index) => {
    const before = list.slice(Math.max(0, index - NORMALISED), index);
    const [first] = before;
    const isCount =
      (entry.positional || NAMELESS.test(entry.name)) && !isFloating(entry.dtype) && entry.shape.length === 0;
    return isCount &&
      first?.shape.length === 1 &&
      before.length === NORMALISED &&
      before.every((own) => sameShape(own, first))
      ? [index - 2, index - 1, index]
      : [];
  });
}

/** Positions of `items` in `row`, in order and each as early as possible; undefined when they do not fit. */
function fitLeftmost(items: readonly TensorEntry[], row: readonly TensorEntry[]): number[] | undefined {
  const positions: number[] = [];
  let at = 0;
  for (const item of items) {
    for (; at < row.length; at++) {
      const candidate = row[at];
      if (candidate && sameShape(item, candidate)) {
        break;
      }
    }
    if (at >= row.length) {
      return undefined;
    }
    positions.push(at++);
  }
  return positions;
}

function isShapedLike(one: TensorEntry, other: TensorEntry | undefined): boolean {
  return other !== undefined && sameShape(one, other);
}

function sameShape(one: TensorEntry, other: TensorEntry): boolean {
  return one.shape.length === other.shape.length && one.shape.every((size, axis) => size === other.shape[axis]);
}

function shapesOf(entries: readonly TensorEntry[]): string {
  const shown = entries.slice(0, 8).map(({ shape }) => `[${shape.join(', ')}]`);
  return shown.join(' ') + (entries.length > shown.length ? ' ...' : '');
}

/** How well a gradient file fits a checkpoint, 0 to 1, for ranking candidates; never throws. */
export function fitOf(checkpoint: Listing, gradients: Listing): number {
  try {
    const { pairs, how } = matchTensors(checkpoint, gradients);
    const covered = pairs.length / Math.max(gradients.entries.length, 1);
    const used = pairs.length / Math.max(checkpoint.entries.filter(isParameter).length, 1);
    return (how === 'names' ? 1 : 0.9) * (0.8 * Math.min(covered, 1) + 0.2 * Math.min(used, 1));
  } catch (error) {
    if (error instanceof UnusableInputError) {
      return 0;
    }
    throw error;
  }
}
