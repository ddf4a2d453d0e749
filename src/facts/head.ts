import { UnusableInputError } from '../protocol/errors.js';
import type { NextStep } from '../protocol/next-steps.js';
import { requireMemory } from '../formats/memory.js';
import { type Dtype, type TensorEntry, type TensorFile, elementCount } from '../formats/tensor-file.js';
import { type Matrix, transpose } from '../recovery/linear-algebra.js';
import { ROUNDED_SUM } from '../recovery/head-factors.js';
import { hasOtherLoss } from '../recovery/other-loss.js';
import { type HeadHint, findHint } from './head-hint.js';
import {
  type HeadLayout,
  type Layer,
  Structure,
  biasOf,
  guessLayout,
  isEmbedding,
  isHeadlike,
  isNeverHead,
  stem,
} from './head-structure.js';
import type { AuditPaths } from './inputs.js';
import type { Matching, TensorPair } from './matching.js';
import { matrixSums } from './matrix-sums.js';
import { copyOf, looksTied, tokenEmbedding } from './tied-head.js';

/** Finding the classifier head among the matched tensors. */

export type { HeadLayout };

export interface HeadTensors {
  readonly weight: TensorPair;
  readonly bias: TensorEntry | undefined;
  readonly biasGradient: TensorEntry | undefined;
  readonly layout: HeadLayout;
  readonly classes: number;
  readonly features: number;
}

export interface HeadOptions extends AuditPaths {
  /** Name of the weight or of its layer. */
  readonly head?: string;
  readonly layout?: HeadLayout;
}

export interface HeadSearch {
  /** The head, or why there is none that labels could be read from. */
  readonly found: HeadTensors | NoHead;
  /** Files beside the dump that say something of the head, and whether they were followed; one sentence each. */
  readonly notes: readonly string[];
  /** True when one of them was passed over. */
  readonly doubtful: boolean;
}

export interface NoHead {
  /** One sentence for the verdict. */
  readonly why: string;
  /** The embedding whose weight is the head's as well: its dense gradient tells of no look-up. */
  readonly tied?: string;
  readonly next?: readonly NextStep[];
}

/** Weight and gradient in float64, and what recovery makes of them. */
const COPIES_OF_HEAD = 5;
/** ||1^T G|| / ||G|| below this marks softmax cross-entropy: rounding stays far below, other layers far above. */
const SOFTMAX_SUM = 1e-3;
/** A sum of rounded numbers errs by a few units of the type's roundoff. */
const ROUNDING: Partial<Record<Dtype, number>> = {
  float16: 2 ** -9,
  bfloat16: 2 ** -6,
  float8_e4m3fn: 0.1,
  float8_e5m2: 0.2,
};

/**
 * Chooses the head: the one named; else the one that a file beside the dump names; else a matrix that nothing after it uses
 * and whose gradient sums to zero over the classes as softmax cross-entropy's does; without such a one (noise, sigmoid) a
 * matrix at the right place.
 *
 * @returns no head where none of the matrices is one, where it is tied to an embedding, and where it is not of a softmax
 * @throws UnusableInputError when there are several, when it has a single class, or when the one named does not exist
 */
export function findHead(
  matching: Matching,
  checkpoint: TensorFile,
  gradients: TensorFile,
  options: HeadOptions,
): HeadSearch {
  const search: Search = {
    matching,
    checkpoint,
    gradients,
    options,
    structure: new Structure(checkpoint, matching, options.layout),
    matrices: matching.pairs.filter(({ parameter }) => parameter.shape.length === 2),
  };
  const hint: HeadHint =
    options.head === undefined
      ? findHint(options, matching, search.structure.matrices(), checkpoint, gradients)
      : { kind: 'none', notes: [] };
  const notes = [...(hint.reason === undefined ? [] : [hint.reason]), ...hint.notes];
  const doubtful = hint.notes.length > 0;
  const chosen =
    options.head === undefined ? chooseHead(search, hint) : namedHead(options.head, search.matrices, gradients);
  if ('why' in chosen) {
    return { found: chosen, notes, doubtful };
  }
  if (!chosen.certain) {
    throw new UnusableInputError({
      code: 'ambiguous-match',
      file: gradients.path,
      found: `a list without names whose gradient "${chosen.gradient.name}" fits several parameters of ${checkpoint.path}`,
      expected: 'one way to match it',
      advice: 'Save a dict of names to gradients, or the gradients of all parameters in their order.',
    });
  }
  const tied = tiedTo(chosen, search);
  if (tied !== undefined) {
    return { found: tiedHead(tied), notes, doubtful };
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
      advice: 'One output leaves softmax nothing to tell apart: name the layer that classifies, or its layout.',
    });
  }
  requireMemory({
    bytes: COPIES_OF_HEAD * 8 * elementCount(chosen.parameter.shape),
    file: checkpoint.path,
    what: `a head "${chosen.parameter.name}" of ${rows} x ${cols} numbers, the recovery of whose labels is work`,
  });
  const { data } = gradients.read(chosen.gradient.name);
  const bias = biasOf(chosen.parameter, checkpoint.entries, classes);
  const biasGradient = matching.pairs.find(({ parameter, certain }) => parameter === bias && certain)?.gradient;
  if (
    hasOtherLoss(toMatrix(chosen.gradient, data, layout), ROUNDING[chosen.gradient.dtype] ?? SOFTMAX_SUM) &&
    !(biasGradient && isRounding(gradients.read(biasGradient.name).data))
  ) {
    return { found: otherLoss(chosen), notes, doubtful };
  }
  const found: HeadTensors = {
    weight: chosen,
    bias,
    biasGradient,
    layout,
    classes,
    features: layout === 'kxd' ? cols : rows,
  };
  return { found, notes, doubtful };
}

/** Sure predictions leave sums of p - y that are their rounding, which is much beside what is left of p - y. */
function isRounding(biasGradient: Float64Array): boolean {
  return Math.abs(biasGradient.reduce((sum, value) => sum + value, 0)) <= ROUNDED_SUM;
}

interface Search {
  readonly matching: Matching;
  readonly checkpoint: TensorFile;
  readonly gradients: TensorFile;
  readonly options: HeadOptions;
  readonly structure: Structure;
  readonly matrices: readonly TensorPair[];
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
      advice: 'Give its full name.',
      choices: matrices.map(({ parameter }) => parameter.name),
    });
  }
  return only;
}

function chooseHead(search: Search, hint: HeadHint): TensorPair | NoHead {
  const { gradients, matrices, structure } = search;
  if (hint.pair && hint.kind === 'head') {
    return hint.pair;
  }
  if (hint.pair && hint.kind === 'tied') {
    return tiedHead(hint.pair.parameter.name);
  }
  if (hint.kind === 'other') {
    return { why: `The outputs are no softmax's. ${hint.reason ?? ''}` };
  }
  const rejected: string[] = [];
  const candidates = matrices.filter((pair) => {
    const reason = whyNoHead(pair, search);
    if (reason !== undefined) {
      rejected.push(`"${pair.parameter.name}" ${reason}`);
    }
    return reason === undefined;
  });
  const softmax = candidates.filter((pair) => sumsToZero(pair, search));
  const [only] = softmax;
  if (only && softmax.length === 1) {
    return only;
  }
  if (softmax.length > 1) {
    throw severalHeads(softmax, gradients);
  }
  const embedding = tokenEmbedding(search.matching);
  if (embedding && (tiedTo(embedding, search) !== undefined || looksTied(embedding, gradients))) {
    return tiedHead(embedding.parameter.name);
  }
  const last = structure.last()?.entry;
  const placed = candidates.filter(({ parameter }) => parameter === last || isHeadlike(parameter.name));
  const chosen = placed[placed.length - 1];
  if (!chosen) {
    const reason = rejected[rejected.length - 1];
    return {
      why: `None of the ${search.matching.pairs.length} matched tensors is a classifier head${reason === undefined ? '' : ` (the last matrix, ${reason})`}; if one is, name it.`,
      next: ['choose-head'],
    };
  }
  const rivals = placed.filter((pair) => isSibling(pair, chosen, structure));
  if (rivals.length > 1) {
    throw severalHeads(rivals, gradients);
  }
  return chosen;
}

function severalHeads(rivals: readonly TensorPair[], gradients: TensorFile): UnusableInputError {
  return new UnusableInputError({
    code: 'several-heads',
    file: gradients.path,
    found: `${rivals.length} layers that could be the head: ${listNames(rivals)}`,
    expected: 'one classifier head',
    advice: 'Say which one classifies.',
    choices: rivals.map(({ parameter }) => parameter.name),
  });
}

/** What rules a matrix out before its gradient is looked at, as the rest of a sentence that begins with its name. */
function whyNoHead(pair: TensorPair, { structure }: Search): string | undefined {
  const { parameter } = pair;
  const layer = structure.layer(parameter);
  if (!layer) {
    return 'is an embedding';
  }
  if (isNeverHead(parameter.name)) {
    return 'is of a kind that is no head';
  }
  const consumer = structure.consumerOf(layer);
  if (consumer) {
    return `feeds the ${consumer.kind} "${consumer.name}"`;
  }
  const stack = structure.stackOf(layer);
  return stack === undefined ? undefined : `is part of the repeated block "${stack}"`;
}

/** Two heads on one trunk: same features in, under the same parent. */
function isSibling(pair: TensorPair, last: TensorPair, structure: Structure): boolean {
  const parent = (own: TensorPair): string => stem(stem(own.parameter.name));
  const taken = (own: TensorPair): Layer['takes'] => structure.layer(own.parameter)?.takes ?? [];
  return parent(pair) === parent(last) && taken(pair)[0] === taken(last)[0];
}

/** The embedding that a matrix shares its numbers with, when it is one itself or a copy of one. */
function tiedTo({ parameter, gradient }: TensorPair, { checkpoint, gradients }: Search): string | undefined {
  const copy = copyOf(parameter, checkpoint);
  if (copy && (isEmbedding(copy.name) || isEmbedding(parameter.name))) {
    return isEmbedding(parameter.name) ? parameter.name : copy.name;
  }
  return isEmbedding(parameter.name) && looksTied({ parameter, gradient, certain: true }, gradients)
    ? parameter.name
    : undefined;
}

function tiedHead(embedding: string): NoHead {
  return {
    why: `The head is tied to the embedding "${embedding}"; texts are read where the model is known: put its config.json beside the checkpoint.`,
    tied: embedding,
  };
}

function otherLoss({ parameter }: TensorPair): NoHead {
  return {
    why: `The gradient of the last layer "${parameter.name}" does not sum to zero over its outputs, and not as added noise would have it: a regression, several labels at once, or another loss than softmax cross-entropy.`,
  };
}

function sumsToZero({ gradient, parameter }: TensorPair, { matching, gradients, options }: Search): boolean {
  const layout = options.layout ?? guessLayout(parameter, parametersOf(matching));
  const { size, overRows, overColumns } = matrixSums(gradients, gradient);
  const sum = layout === 'kxd' ? overRows : overColumns;
  return size > 0 && sum < Math.max(SOFTMAX_SUM, ROUNDING[gradient.dtype] ?? 0) * size;
}

function parametersOf({ pairs }: Matching): TensorEntry[] {
  return pairs.map(({ parameter }) => parameter);
}

function layoutOf(
  pair: TensorPair,
  matching: Matching,
  given: HeadLayout | undefined,
  gradients: TensorFile,
): HeadLayout {
  const guess = given ?? guessLayout(pair.parameter, parametersOf(matching));
  if (given !== undefined || guess === 'dxk') {
    return guess;
  }
  // Neither name nor bias decided: the classes are the axis over which the gradient sums to zero.
  const { size, overRows, overColumns } = matrixSums(gradients, pair.gradient);
  const hasBias = biasOf(pair.parameter, parametersOf(matching), pair.parameter.shape[0] ?? 0);
  return !hasBias && overColumns < SOFTMAX_SUM * size && overRows > 10 * overColumns ? 'dxk' : 'kxd';
}

/** A head's tensor as a K x d matrix. */
export function toMatrix(entry: TensorEntry, data: Float64Array, layout: HeadLayout): Matrix {
  const [rows = 0, cols = 0] = entry.shape;
  const stored = { rows, cols, data };
  return layout === 'kxd' ? stored : transpose(stored);
}

function listNames(pairs: readonly TensorPair[]): string {
  return pairs.map(({ parameter }) => `"${parameter.name}" [${parameter.shape.join(', ')}]`).join(', ') || 'none';
}
