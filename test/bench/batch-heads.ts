import { softmax } from '../../src/recovery/activation.js';
import type { HeadGradient } from '../../src/recovery/head-gradient.js';
import { type Matrix, multiply } from '../../src/recovery/linear-algebra.js';
import { generator } from '../../src/recovery/paper-method.js';
import { gaussian } from '../synthetic-head.js';

/** Batches' head gradients by the textbook formula, with what went into them. */

export interface BatchCase {
  /** K. */
  readonly classes: number;
  /** d. */
  readonly features: number;
  /** B. */
  readonly batch: number;
  readonly labels: 'hard' | 'smoothed';
  /** As initialised by default, or with rows that point at their class's features. */
  readonly head: 'untrained' | 'trained-like';
  readonly bias: boolean;
  readonly seed: number;
}

export interface BatchTruth {
  readonly head: HeadGradient;
  /** Of each sample. */
  readonly labelled: readonly number[];
  readonly features: readonly Float64Array[];
}

/** The margin that a trained-like head gives a class's own features. */
const MARGIN = 10;
/** Deviation of a sample's features from its class's, both of unit variance before the ReLU. */
const SPREAD = 0.7;
/** Of the trained-like heads' samples, as in make_batches.py: a right and confident one leaves almost no gradient. */
const WRONG_LABELS = 0.4;

/** One seeded batch, its gradient rounded to float32. */
export function batchOf({ classes, features, batch, labels, head, bias, seed }: BatchCase): BatchTruth {
  const random = generator(seed);
  const isTrained = head === 'trained-like';
  const centres = isTrained ? Float64Array.from({ length: classes * features }, () => gaussian(random)) : undefined;
  const bound = 1 / Math.sqrt(features);
  const activated = (value: number): number => Math.max(value, 0);
  const weight: Matrix = {
    rows: classes,
    cols: features,
    data: Float64Array.from({ length: classes * features }, (_, at) =>
      Math.fround(
        (centres ? (MARGIN / (0.34 * features)) * (activated(centres[at]!) - 0.4) : 0) + (2 * random() - 1) * bound,
      ),
    ),
  };
  const b = bias ? Float64Array.from({ length: classes }, () => Math.fround((2 * random() - 1) * bound)) : undefined;
  const epsilon = labels === 'smoothed' ? 0.05 + 0.35 * random() : 0;
  const weightGradient = new Float64Array(classes * features);
  const biasGradient = new Float64Array(classes);
  const labelled: number[] = [];
  const all: Float64Array[] = [];
  for (let sample = 0; sample < batch; sample++) {
    const own = Math.floor(random() * classes);
    const isWrong = isTrained && random() < WRONG_LABELS;
    const label = isWrong ? (own + 1 + Math.floor(random() * (classes - 1))) % classes : own;
    const x = Float64Array.from({ length: features }, (_, at) =>
      centres ? activated(centres[own * features + at]! + SPREAD * gaussian(random)) : random(),
    );
    const e = softmax(multiply(weight, x).map((z, row) => z + (b?.[row] ?? 0)));
    e.forEach((p, row) => (e[row] = (p - epsilon / classes - (row === label ? 1 - epsilon : 0)) / batch));
    for (let row = 0; row < classes; row++) {
      biasGradient[row]! += e[row]!;
      for (let at = 0; at < features; at++) {
        weightGradient[row * features + at]! += e[row]! * x[at]!;
      }
    }
    labelled.push(label);
    all.push(x);
  }
  return {
    head: {
      weight,
      bias: b,
      weightGradient: { rows: classes, cols: features, data: weightGradient.map(Math.fround) },
      biasGradient: b && biasGradient.map(Math.fround),
      roundoff: 2 ** -24,
      underflow: 0,
    },
    labelled,
    features: all,
  };
}
