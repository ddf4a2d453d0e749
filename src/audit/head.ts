import { UnusableInputError } from '../protocol/errors.js';
import type { TensorEntry, TensorFile } from '../formats/tensor-file.js';
import { columnSumNorm } from '../recovery/head-gradient.js';
import { type Matrix, norm, transpose } from '../recovery/linear-algebra.js';
import type { Matching, TensorPair } from './matching.js';

/** Finding the classifier head among the matched tensors. */

export type HeadLayout = 'kxd' | 'dxk';

export interface HeadTensors {
  readonly weight: TensorPair;
  readonly bias: TensorEntry | undefined;
  readonly biasGradient: TensorEntry | undefined;
  readonly layout: HeadLayout;
  readonly classes: number;
  readonly features: number;
}

export interface HeadOptions {
  /** Name of the weight or of its layer. */
  readonly head?: string;
  readonly layout?: HeadLayout;
}

/** Heads are at the end; looking at more candidates than this would only cost reading. */
const MOST_CANDIDATES = 12;
/** ||1^T G|| / ||G|| below this marks softmax cross-entropy: rounding stays far below, other layers far above. */
const SOFTMAX_SUM = 1e-3;
const EMBEDDING = /(^|[._/])(embed\w*|embeddings?|wte|wpe|tok_emb|pos_emb|position\w*)([._/]|$)/i;

/**
 * Chooses the head: a matrix whose outputs no later layer takes in, and whose gradient sums to zero over
 * the classes as softmax cross-entropy's does; without such a one (noise, sigmoid) the last matrix.
 *
 * @throws UnusableInputError when there is none, several, or the one named does not exist
 */
export function findHead(
  matching: Matching,
  checkpoint: TensorFile,
  gradients: TensorFile,
  options: HeadOptions,
): HeadTensors {
  const matrices = matching.pairs.filter(({ parameter }) => parameter.shape.length === 2);
  const chosen =
    options.head === undefined
      ? chooseHead(matrices, matching, gradients, options)
      : namedHead(options.head, matrices, gradients);
  if (!chosen.certain) {
    throw new UnusableInputError({
      code: 'ambiguous-match',
      file: gradients.path,
      found: `a list without names whose gradient "${chosen.gradient.name}" fits several parameters of ${checkpoint.path}`,
      expected: 'one way to match it',
      advice: 'Save a dict of names to gradients, or the gradients of all parameters in their order.',
    });
  }
  const layout = layoutOf(chosen, matching, options.layout, gradients);
  const [rows = 0, cols = 0] = chosen.parameter.shape;
  const classes = layout === 'kxd' ? rows : cols;
  if (classes < 2) {
    throw new UnusableInputError({
      code: 'single-class',
      file: checkpoint.path,
      found: `a head "${chosen.parameter.name}" with ${classes} class`,
      expected: 'at least 2 classes',
      advice:
        'One output leaves softmax nothing to tell apart: name the layer that classifies with --head, or its layout with --layout.',
    });
  }
  const bias = biasOf(chosen.parameter, checkpoint.entries, classes);
  return {
    weight: chosen,
    bias,
    biasGradient: matching.pairs.find(({ parameter, certain }) => parameter === bias && certain)?.gradient,
    layout,
    classes,
    features: layout === 'kxd' ? cols : rows,
  };
}

function namedHead(name: string, matrices: readonly TensorPair[], gradients: TensorFile): TensorPair {
  const matches = matrices.filter(({ gradient, parameter }) =>
    [gradient.name, parameter.name].some(
      (own) => own === name || stem(own) === name || own.endsWith(`.${name}`) || stem(own).endsWith(`.${name}`),
    ),
  );
  const [only] = matches;
  if (!only || matches.length > 1) {
    throw new UnusableInputError({
      code: only ? 'several-heads' : 'no-head',
      file: gradients.path,
      found: only ? `${matches.length} matrices called "${name}"` : `no matrix called "${name}" with a gradient`,
      expected: `one of: ${listNames(matrices)}`,
      advice: 'Give its full name with --head.',
    });
  }
  return only;
}

function chooseHead(
  matrices: readonly TensorPair[],
  matching: Matching,
  gradients: TensorFile,
  options: HeadOptions,
): TensorPair {
  const known = matrices.filter(({ parameter }) => !EMBEDDING.test(parameter.name));
  const candidates = (known.length > 0 ? known : matrices)
    .filter((pair, index, all) => isTerminal(pair, all.slice(index + 1), matching, options))
    .slice(-MOST_CANDIDATES);
  const last = candidates[candidates.length - 1];
  if (!last) {
    throw new UnusableInputError({
      code: 'no-head',
      file: gradients.path,
      found: `no gradient of a matrix among ${matching.pairs.length} matched tensors`,
      expected: 'the weight of a linear classifier head, classes x features',
      advice: 'Capture the gradient of the last linear layer, or name the head with --head.',
    });
  }
  const softmax = candidates.filter((pair) => sumsToZero(pair, matching, gradients, options));
  const [only] = softmax;
  if (only && softmax.length === 1) {
    return only;
  }
  const rivals = softmax.length > 1 ? softmax : candidates.filter((pair) => isSibling(pair, last, matching, options));
  if (rivals.length > 1) {
    throw new UnusableInputError({
      code: 'several-heads',
      file: gradients.path,
      found: `${rivals.length} layers that could be the head: ${listNames(rivals)}`,
      expected: 'one classifier head',
      advice: 'Say which with --head NAME.',
    });
  }
  return last;
}

/** No later matrix takes in as many numbers as this one gives out. */
function isTerminal(pair: TensorPair, later: readonly TensorPair[], matching: Matching, options: HeadOptions): boolean {
  const [out] = sizesOf(pair, matching, options);
  return !later.some((other) => sizesOf(other, matching, options)[1] === out);
}

/** Two heads on one trunk: same features in, under the same parent. */
function isSibling(pair: TensorPair, last: TensorPair, matching: Matching, options: HeadOptions): boolean {
  const parent = (own: TensorPair): string => stem(stem(own.parameter.name));
  return parent(pair) === parent(last) && sizesOf(pair, matching, options)[1] === sizesOf(last, matching, options)[1];
}

function sizesOf(pair: TensorPair, matching: Matching, options: HeadOptions): [number, number] {
  const [rows = 0, cols = 0] = pair.parameter.shape;
  return (options.layout ?? guessLayout(pair, matching)) === 'kxd' ? [rows, cols] : [cols, rows];
}

function sumsToZero(pair: TensorPair, matching: Matching, gradients: TensorFile, options: HeadOptions): boolean {
  const { data } = gradients.read(pair.gradient.name);
  const matrix = toMatrix(pair.gradient, data, options.layout ?? guessLayout(pair, matching));
  const size = norm(matrix.data);
  return size > 0 && columnSumNorm(matrix) < SOFTMAX_SUM * size;
}

/** Keras and Flax store kernels as features x classes; a bias of that length settles it for other names. */
function guessLayout(pair: TensorPair, matching: Matching): HeadLayout {
  const { name, shape } = pair.parameter;
  if (/(^|[./])kernel(:0)?$/.test(name)) {
    return 'dxk';
  }
  const [rows = 0, cols = 0] = shape;
  const parameters = matching.pairs.map(({ parameter }) => parameter);
  const fitsRows = biasOf(pair.parameter, parameters, rows) !== undefined;
  const fitsCols = biasOf(pair.parameter, parameters, cols) !== undefined;
  return fitsCols && !fitsRows ? 'dxk' : 'kxd';
}

function layoutOf(
  pair: TensorPair,
  matching: Matching,
  given: HeadLayout | undefined,
  gradients: TensorFile,
): HeadLayout {
  const guess = given ?? guessLayout(pair, matching);
  if (given !== undefined || guess === 'dxk') {
    return guess;
  }
  // Neither name nor bias decided: the classes are the axis over which the gradient sums to zero.
  const matrix = toMatrix(pair.gradient, gradients.read(pair.gradient.name).data, 'kxd');
  const size = norm(matrix.data);
  const overRows = columnSumNorm(matrix);
  const overCols = columnSumNorm(transpose(matrix));
  const hasBias = biasOf(
    pair.parameter,
    matching.pairs.map(({ parameter }) => parameter),
    pair.parameter.shape[0] ?? 0,
  );
  return !hasBias && overCols < SOFTMAX_SUM * size && overRows > 10 * overCols ? 'dxk' : 'kxd';
}

/** A head's tensor as a K x d matrix. */
export function toMatrix(entry: TensorEntry, data: Float64Array, layout: HeadLayout): Matrix {
  const [rows = 0, cols = 0] = entry.shape;
  const stored = { rows, cols, data };
  return layout === 'kxd' ? stored : transpose(stored);
}

/** The bias beside a weight: same layer name, one number per class; in a list, the next vector. */
function biasOf(weight: TensorEntry, entries: readonly TensorEntry[], classes: number): TensorEntry | undefined {
  const fits = (entry: TensorEntry | undefined): boolean => entry?.shape.length === 1 && entry.shape[0] === classes;
  if (weight.positional) {
    const next = entries[entries.indexOf(weight) + 1];
    return fits(next) ? next : undefined;
  }
  const layer = stem(weight.name);
  return entries.find((entry) => fits(entry) && stem(entry.name) === layer && /(bias|b)(:0)?$/.test(entry.name));
}

/** The name of the layer: the tensor's name without its last part. */
export function stem(name: string): string {
  return name.replace(/[./]?[^./]*$/, '');
}

function listNames(pairs: readonly TensorPair[]): string {
  return pairs.map(({ parameter }) => `"${parameter.name}" [${parameter.shape.join(', ')}]`).join(', ') || 'none';
}
