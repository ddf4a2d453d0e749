/**
 * Families of labels on the simplex, and how well a candidate fits each.
 *
 * A hard, smoothed or mixed label is flat but for a few classes that stand out: K - m entries equal
 * eps/K. How flat they are is the evidence; no ground truth is needed.
 */

/** `undetermined`: several kinds explain the gradient within its noise. */
export type LabelKind = 'hard' | 'smoothed' | 'mixup' | 'mixup-smoothed' | 'other' | 'undetermined';

export interface LabelFamily {
  /** Number of classes that stand out. */
  readonly m: number;
  /** True when the other entries may have a common value above zero (label smoothing). */
  readonly smoothed: boolean;
}

export interface FittedLabel {
  readonly kind: LabelKind;
  /** K numbers on the simplex, of the family's exact form. */
  readonly probabilities: Float64Array;
  /** Label smoothing's epsilon: every class gets epsilon / K. 0 where there is none. */
  readonly smoothing: number;
  /** Classes that stand out, heaviest first, with their share of what smoothing leaves. */
  readonly classes: readonly { readonly index: number; readonly weight: number }[];
}

/** Most classes that one label mixes: MixUp and CutMix use two, some pipelines chain them. */
export const MAX_STANDING_OUT = 4;

/** Families worth trying for K classes: at least two entries must be left to be flat, three when smoothed. */
export function labelFamilies(classes: number): LabelFamily[] {
  const families: LabelFamily[] = [];
  for (let m = 1; m <= Math.min(MAX_STANDING_OUT, classes - 1); m++) {
    if (classes - m >= 2) {
      families.push({ m, smoothed: false });
    }
    if (classes - m >= 3) {
      families.push({ m, smoothed: true });
    }
  }
  return families;
}

/** Free numbers of a family besides the scalar: the standing-out weights (they sum to a known rest) and epsilon. */
export function parameterCount(family: LabelFamily): number {
  return family.m + (family.smoothed ? 1 : 0);
}

/** Positions of the m largest entries. */
export function largest(y: Float64Array, m: number): number[] {
  const top: number[] = [];
  for (let index = 0; index < y.length; index++) {
    let at = top.length;
    while (at > 0 && y[top[at - 1]!]! < y[index]!) {
      at--;
    }
    if (at < m) {
      top.splice(at, 0, index);
      top.length = Math.min(top.length, m);
    }
  }
  return top;
}

function meanOfRest(y: Float64Array, out: ReadonlySet<number>): number {
  let sum = 0;
  for (let index = 0; index < y.length; index++) {
    sum += out.has(index) ? 0 : y[index]!;
  }
  return sum / (y.length - out.size);
}

/** The label of the family's exact form that is nearest to the measured one. */
export function fitLabel(y: Float64Array, family: LabelFamily): FittedLabel {
  const classes = y.length;
  const top = largest(y, family.m);
  const out = new Set(top);
  const flat = family.smoothed ? Math.min(Math.max(meanOfRest(y, out), 0), 1 / classes) : 0;
  const smoothing = flat * classes;
  const rawWeights = top.map((index) => Math.max(y[index]! - flat, 0));
  const rawSum = rawWeights.reduce((sum, weight) => sum + weight, 0);
  const weights = rawWeights.map((weight) => (rawSum > 0 ? weight / rawSum : 1 / top.length));
  const probabilities = new Float64Array(classes).fill(flat);
  top.forEach((index, at) => {
    probabilities[index] = flat + (1 - smoothing) * weights[at]!;
  });
  return {
    kind: kindOf(family, smoothing),
    probabilities,
    smoothing,
    classes: top.map((index, at) => ({ index, weight: weights[at]! })),
  };
}

function kindOf(family: LabelFamily, smoothing: number): LabelKind {
  if (family.m > 2) {
    return 'other';
  }
  const smoothed = family.smoothed && smoothing > 0;
  if (family.m === 1) {
    return smoothed ? 'smoothed' : 'hard';
  }
  return smoothed ? 'mixup-smoothed' : 'mixup';
}

/** A label of no known family, as measured; classes above twice the uniform share count as standing out. */
export function denseLabel(y: Float64Array): FittedLabel {
  const top = largest(y, Math.min(MAX_STANDING_OUT, y.length)).filter((index) => y[index]! > 2 / y.length);
  return {
    kind: 'other',
    probabilities: y,
    smoothing: 0,
    classes: top.map((index) => ({ index, weight: y[index]! })),
  };
}

/**
 * Penalised likelihood of a family: (K - 1) log(mean squared misfit + floor) + 4 k log K, with both
 * misfit and floor in the same squared unit. A family must earn each further free number.
 */
export function familyScore(misfit: number, floor: number, family: LabelFamily, classes: number): number {
  const freedom = Math.max(classes - family.m - (family.smoothed ? 1 : 0), 1);
  const variance = Math.max(misfit, 0) / freedom + floor;
  return (classes - 1) * Math.log(variance) + 4 * parameterCount(family) * Math.log(classes);
}
