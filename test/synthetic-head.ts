import { softmax } from '../src/recovery/activation.js';
import type { HeadGradient } from '../src/recovery/head-gradient.js';
import { type Matrix, multiply } from '../src/recovery/linear-algebra.js';

/** Heads and gradients by the textbook formula G = (p - y) x^T, for tests that need many. */

export interface SyntheticSample {
  readonly head: HeadGradient;
  readonly label: Float64Array;
  readonly feature: Float64Array;
}

export type SyntheticLabel = 'hard' | 'smoothed' | 'mixup' | 'mixup-smoothed';

export function gaussian(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

export function syntheticLabel(classes: number, kind: SyntheticLabel, random: () => number): Float64Array {
  const first = Math.floor(random() * classes);
  const second = (first + 1 + Math.floor(random() * (classes - 1))) % classes;
  const smoothing = kind.endsWith('smoothed') ? 0.02 + 0.3 * random() : 0;
  const share = kind.startsWith('mixup') ? 0.15 + 0.35 * random() : 0;
  const label = new Float64Array(classes).fill(smoothing / classes);
  label[first]! += (1 - smoothing) * (1 - share);
  label[second]! += (1 - smoothing) * share;
  return label;
}

export function syntheticSample(options: {
  classes: number;
  features: number;
  kind: SyntheticLabel;
  bias: boolean;
  random: () => number;
  /** Weights are uniform in plus or minus this over the root of the number of features. */
  spread?: number;
  noise?: number;
}): SyntheticSample {
  const { classes, features, kind, bias, random, spread = 1, noise = 0 } = options;
  const scale = spread / Math.sqrt(features);
  const weight: Matrix = {
    rows: classes,
    cols: features,
    data: Float64Array.from({ length: classes * features }, () => Math.fround((2 * random() - 1) * scale)),
  };
  const b = bias ? Float64Array.from({ length: classes }, () => Math.fround((2 * random() - 1) * scale)) : undefined;
  const feature = Float64Array.from({ length: features }, () => Math.abs(gaussian(random)));
  const label = syntheticLabel(classes, kind, random);
  const p = softmax(multiply(weight, feature).map((z, i) => z + (b?.[i] ?? 0)));
  const q = p.map((value, i) => value - label[i]!);
  const data = new Float64Array(classes * features);
  for (let i = 0; i < classes; i++) {
    for (let j = 0; j < features; j++) {
      data[i * features + j] = Math.fround(q[i]! * feature[j]! + noise * gaussian(random));
    }
  }
  return {
    head: {
      weight,
      bias: b,
      weightGradient: { rows: classes, cols: features, data },
      biasGradient: b && q.map((value) => Math.fround(value + noise * gaussian(random))),
      roundoff: 2 ** -24,
      underflow: 0,
    },
    label,
    feature,
  };
}

export function largestDifference(found: Float64Array, expected: Float64Array): number {
  return found.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);
}
