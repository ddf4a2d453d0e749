import type { TensorFile } from '../formats/tensor-file.js';
import { UnusableInputError, nextSteps } from '../protocol/errors.js';
import type { NextStep } from '../protocol/next-steps.js';
import type { ConsistencyCheck, UpdateReport } from '../protocol/report.js';
import {
  type GradientShape,
  type HeadGradient,
  effectiveRoundoff,
  shapeOfGradient,
} from '../recovery/head-gradient.js';
import type { Fact, Facts } from './facts.js';
import { type HeadTensors, findHead, toMatrix } from './head.js';
import { findClassNames, sameFile } from './inputs.js';
import { TRANSFORMER } from './transformer.js';
import { MATCHING, UPDATE } from './update.js';
import { requireUsable, roundoffOf } from './values.js';

/** The classifier head, or why there is none. */
export interface HeadSearch {
  readonly tensors: HeadTensors | undefined;
  /** One sentence; empty where there is a head. */
  readonly why: string;
  /** The embedding that the head is tied to. */
  readonly tied: string | undefined;
  readonly checks: readonly ConsistencyCheck[];
  readonly next: readonly NextStep[];
  /** What to throw where no other part of the gradient leaks: several heads, or an unusable one. */
  readonly error: UnusableInputError | undefined;
}

/** @throws UnusableInputError for a head that the user named and that is not there */
export const HEAD: Fact<HeadSearch> = {
  id: 'head',
  async compute(facts) {
    const { request, checkpoint, gradients } = facts.given;
    const matching = await facts.get(MATCHING);
    const language = request.head === undefined ? await languageHead(facts) : undefined;
    if (language) {
      return { tensors: undefined, why: LANGUAGE_MODEL, tied: language.tied, next: [], checks: [], error: undefined };
    }
    try {
      const { found, notes, doubtful } = findHead(matching, checkpoint, gradients, request);
      const checks: ConsistencyCheck[] =
        notes.length > 0 ? [{ id: 'head-hint', status: doubtful ? 'warn' : 'pass', detail: notes.join(' ') }] : [];
      return 'why' in found
        ? { tensors: undefined, why: found.why, tied: found.tied, next: found.next ?? [], checks, error: undefined }
        : { tensors: found, why: '', tied: undefined, next: [], checks, error: undefined };
    } catch (error) {
      // For want of memory the rest goes on, also where the head was named.
      if (error instanceof UnusableInputError && (request.head === undefined || error.code === 'too-little-memory')) {
        return { tensors: undefined, why: error.message, tied: undefined, next: nextSteps(error), checks: [], error };
      }
      throw error;
    }
  },
  describe: ({ tensors, why, tied }) =>
    tensors ? { weight: tensors.weight.parameter.name, classes: tensors.classes } : { why, tied: tied ?? null },
};

const LANGUAGE_MODEL =
  "The head is a language model's, which is not read as a classifier's. Its classes are the next tokens, which are read with the texts; named as the head, it is read as a classifier.";

/** Where the head is a language model's: what it is tied to. */
async function languageHead(facts: Facts): Promise<{ tied: string | undefined } | undefined> {
  const transformer = await facts.get(TRANSFORMER);
  return transformer !== undefined && !('refused' in transformer) && transformer.head?.kind === 'language-model'
    ? { tied: transformer.head.tied ? transformer.embedding.tokens : undefined }
    : undefined;
}

export interface ReadHead {
  readonly tensors: HeadTensors;
  readonly gradient: HeadGradient;
  /** Unit roundoff of the type that the gradient is stored in. */
  readonly storedRoundoff: number;
}

/** The head's numbers as matrices of float64, the update's sign turned to a gradient's; undefined without a head. */
export const HEAD_GRADIENT: Fact<ReadHead | undefined> = {
  id: 'head-gradient',
  async compute(facts) {
    const { checkpoint, gradients } = facts.given;
    const { tensors } = await facts.get(HEAD);
    return tensors && readHead(tensors, checkpoint, gradients, await facts.get(UPDATE));
  },
};

/** Rank and noise of the head's gradient; undefined without a head. */
export const HEAD_SHAPE: Fact<GradientShape | undefined> = {
  id: 'head-shape',
  async compute(facts) {
    const head = await facts.get(HEAD_GRADIENT);
    return head && shapeOfGradient(head.gradient);
  },
  describe: (shape) => (shape ? { nature: shape.nature, noise: shape.noise } : null),
};

/** Names of the head's classes from a list beside the files; undefined without one that fits. */
export const CLASS_NAMES: Fact<string[] | undefined> = {
  id: 'class-names',
  async compute(facts) {
    const { tensors } = await facts.get(HEAD);
    return tensors && findClassNames(facts.given.request, tensors.classes);
  },
};

function readHead(
  tensors: HeadTensors,
  checkpoint: TensorFile,
  gradients: TensorFile,
  { kind, sign, absoluteError }: UpdateReport,
): ReadHead {
  const { weight, bias, biasGradient, layout } = tensors;
  const weightData = checkpoint.read(weight.parameter.name).data;
  const gradientData = gradients.read(weight.gradient.name).data;
  requireUsable(gradients.path, weight.gradient.name, gradientData);
  if (!weightData.every(Number.isFinite)) {
    requireUsable(checkpoint.path, weight.parameter.name, weightData);
  }
  if (weightData.every((value, index) => value === gradientData[index])) {
    throw sameFile(gradients.path);
  }
  const biasGradientData = biasGradient && gradients.read(biasGradient.name).data;
  if (biasGradient && biasGradientData && !biasGradientData.every(Number.isFinite)) {
    requireUsable(gradients.path, biasGradient.name, biasGradientData);
  }
  const storedRoundoff = roundoffOf(weight.gradient.dtype);
  // A difference's numbers err by the rounding of the weights it was taken from, however small they are.
  const isDifference = kind === 'difference' || kind === 'several-steps';
  const directed = (data: Float64Array): Float64Array => (sign === -1 ? data.map((value) => -value) : data);
  const typeStep = weight.gradient.dtype === 'float16' ? 2 ** -24 : 0;
  return {
    tensors,
    storedRoundoff,
    gradient: {
      weight: toMatrix(weight.parameter, weightData, layout),
      bias: bias && checkpoint.read(bias.name).data,
      weightGradient: toMatrix(weight.gradient, directed(gradientData), layout),
      biasGradient: biasGradientData && directed(biasGradientData),
      roundoff: isDifference ? storedRoundoff : effectiveRoundoff(gradientData, storedRoundoff),
      underflow: isDifference && absoluteError !== null ? absoluteError * Math.sqrt(12) : typeStep,
    },
  };
}
