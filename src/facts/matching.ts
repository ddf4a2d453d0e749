import { UnusableInputError } from '../protocol/errors.js';
import { type TensorEntry, type TensorFile, isFloating } from '../formats/tensor-file.js';

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

/** True for what a gradient can belong to: trained floating-point tensors, no statistics, no optimiser state. */
function isParameter(entry: TensorEntry): boolean {
  return (
    entry.role !== 'buffer' && isFloating(entry.dtype) && !BUFFER.test(entry.name) && !BOOKKEEPING.test(entry.name)
  );
}

/** `dense/kernel:0` and `dense.kernel` are one name. */
function componentsOf(name: string): string[] {
  return name.replace(/:0$/, '').split(/[./]/);
}

/**
 * Matches by name (any prefix such as `module.` or `state_dict.` may differ), and lists without names
 * by order and shape.
 *
 * @throws UnusableInputError when nothing fits or shapes contradict the names
 */
export function matchTensors(checkpoint: TensorFile, gradients: TensorFile): Matching {
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
  const nameless = dumped.every(
    (entry) => entry.positional || /^(arr_\d+|grads?_?\d*|\d+|array|tensor)$/.test(entry.name),
  );
  const byName = nameless ? undefined : matchByName(parameters, dumped, checkpoint, gradients);
  return byName ?? matchByOrder(parameters, dumped, checkpoint, gradients);
}

function matchByName(
  parameters: readonly TensorEntry[],
  dumped: readonly TensorEntry[],
  checkpoint: TensorFile,
  gradients: TensorFile,
): Matching | undefined {
  const bySuffix = new Map<string, TensorEntry[]>();
  for (const entry of parameters) {
    const parts = componentsOf(entry.name);
    for (let from = 0; from < parts.length; from++) {
      const suffix = parts.slice(from).join('.');
      const list = bySuffix.get(suffix);
      if (list) {
        list.push(entry);
      } else {
        bySuffix.set(suffix, [entry]);
      }
    }
  }
  // Every gradient votes for the pair of prefixes under which its longest suffix is found.
  const votes = new Map<string, TensorPair[]>();
  for (const gradient of dumped) {
    const parts = componentsOf(gradient.name);
    const from = parts.findIndex((_, at) => bySuffix.has(parts.slice(at).join('.')));
    const suffix = parts.slice(from).join('.');
    // A lone `weight` or `bias` says nothing about which layer it is.
    if (from < 0 || (parts.length - from < 2 && parts.length > 1)) {
      continue;
    }
    for (const parameter of bySuffix.get(suffix) ?? []) {
      const own = componentsOf(parameter.name);
      const key = `${parts.slice(0, from).join('.')}\n${own.slice(0, own.length - (parts.length - from)).join('.')}`;
      const list = votes.get(key) ?? [];
      list.push({ gradient, parameter, certain: true });
      votes.set(key, list);
    }
  }
  const ranked = [...votes].sort((one, other) => other[1].length - one[1].length);
  const [best] = ranked;
  if (!best) {
    return undefined;
  }
  const pairs = best[1];
  const contradiction = pairs.find(({ gradient, parameter }) => !sameShape(gradient, parameter));
  if (contradiction) {
    throw shapeMismatch(contradiction, gradients, checkpoint);
  }
  const matched = new Set(pairs.map(({ gradient }) => gradient));
  const [gradientPrefix] = best[0].split('\n');
  return {
    pairs,
    how: 'names',
    unmatched: dumped.filter((entry) => !matched.has(entry)),
    alternatives: ranked
      .slice(1)
      .filter(([key, list]) => key.split('\n')[0] === gradientPrefix && list.length === pairs.length)
      .map(([key]) => key.split('\n')[1] ?? ''),
  };
}

function shapeMismatch(
  { gradient, parameter }: TensorPair,
  gradients: TensorFile,
  checkpoint: TensorFile,
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
 * rightmost way to fit the shapes agree exactly where the assignment is certain.
 */
function matchByOrder(
  parameters: readonly TensorEntry[],
  dumped: readonly TensorEntry[],
  checkpoint: TensorFile,
  gradients: TensorFile,
): Matching {
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

function sameShape(one: TensorEntry, other: TensorEntry): boolean {
  return one.shape.length === other.shape.length && one.shape.every((size, axis) => size === other.shape[axis]);
}

function shapesOf(entries: readonly TensorEntry[]): string {
  const shown = entries.slice(0, 8).map(({ shape }) => `[${shape.join(', ')}]`);
  return shown.join(' ') + (entries.length > shown.length ? ' ...' : '');
}

/** How well a gradient file fits a checkpoint, 0 to 1, for ranking candidates; never throws. */
export function fitOf(checkpoint: TensorFile, gradients: TensorFile): number {
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
