import { describe, expect, it } from 'vitest';
import { FLOAT16, toGrid } from '../../../src/defences/float-grid.js';
import { sigmoid, softmax } from '../../../src/recovery/activation.js';
import { factorsOf } from '../../../src/recovery/head-factors.js';
import { type HeadGradient, shapeOfGradient } from '../../../src/recovery/head-gradient.js';
import { multiply } from '../../../src/recovery/linear-algebra.js';
import { asOneSample } from '../../../src/recovery/one-sample.js';
import { generator } from '../../../src/recovery/paper-method.js';
import type { RecoveredSample } from '../../../src/recovery/recovered-sample.js';
import { recoverFromFactors } from '../../../src/recovery/single-sample.js';
import { gaussian } from '../../synthetic-head.js';

const FEATURES = 48;

interface Batch {
  readonly classes: number;
  readonly samples: number;
  readonly seed: number;
  readonly activation?: 'softmax' | 'sigmoid';
  readonly bias?: boolean;
  /** All labels of one class, as hard as they are to tell from one sample. */
  readonly isAlike?: boolean;
  readonly smoothing?: number;
  /** Weights are this much larger, so that predictions are surer; labels are then what is predicted. */
  readonly sureness?: number;
  /** Features differ by this share of their size; 1 when absent. */
  readonly spread?: number;
  readonly isHalf?: boolean;
}

/** The mean gradient by the textbook formula, p rounded as float32 rounds it. */
function headOf(batch: Batch): { head: HeadGradient; labels: number[] } {
  const {
    classes,
    samples,
    seed,
    activation = 'softmax',
    bias = true,
    isAlike = false,
    smoothing = 0,
    sureness,
    spread = 1,
    isHalf = false,
  } = batch;
  const random = generator(seed);
  const scale = (sureness ?? 1) / Math.sqrt(FEATURES);
  const weight = {
    rows: classes,
    cols: FEATURES,
    data: Float64Array.from({ length: classes * FEATURES }, () => Math.fround(gaussian(random) * scale)),
  };
  const b = bias ? Float64Array.from({ length: classes }, () => Math.fround(gaussian(random) * scale)) : undefined;
  const sum = new Float64Array(classes * FEATURES);
  const biasGradient = new Float64Array(classes);
  const labels: number[] = [];
  const stored = isHalf ? (value: number) => toGrid(value, FLOAT16) : Math.fround;
  const common = Float64Array.from({ length: FEATURES }, () => Math.abs(gaussian(random)));
  for (let sample = 0; sample < samples; sample++) {
    const own = Float64Array.from({ length: FEATURES }, () => Math.abs(gaussian(random)));
    const feature = own.map((value, at) => Math.fround(spread * value + (1 - spread) * common[at]!));
    const logits = multiply(weight, feature).map((value, index) => value + (b?.[index] ?? 0));
    const p = (activation === 'softmax' ? softmax(logits) : sigmoid(logits)).map(Math.fround);
    const drawn = Math.floor(random() * classes);
    const label = sureness !== undefined ? p.indexOf(Math.max(...p)) : isAlike ? (labels[0] ?? drawn) : drawn;
    labels.push(label);
    p.forEach((probability, row) => {
      const error = (probability - (row === label ? 1 - smoothing : 0) - smoothing / classes) / samples;
      biasGradient[row]! += error;
      feature.forEach((value, col) => (sum[row * FEATURES + col]! += error * value));
    });
  }
  const head = {
    weight,
    bias: b,
    weightGradient: { rows: classes, cols: FEATURES, data: sum.map(stored) },
    biasGradient: bias ? biasGradient.map(stored) : undefined,
    roundoff: isHalf ? 2 ** -11 : 2 ** -24,
    underflow: isHalf ? 2 ** -24 : 0,
  };
  return { head, labels };
}

/** Undefined where the rank already says that there are several. */
function judge(head: HeadGradient, stated?: number): RecoveredSample | undefined {
  const shape = shapeOfGradient(head);
  if (shape.nature === 'batch') {
    return undefined;
  }
  const factors = factorsOf(head, shape);
  return asOneSample(recoverFromFactors(factors, shape), factors, shape, stated);
}

const SEEDS = Array.from({ length: 25 }, (_, index) => 100 + index);

const MANY_SEEDS = Array.from({ length: 150 }, (_, index) => 1000 + index);

describe('a head of two classes', () => {
  it.each([
    ['different labels', {}],
    ['one label', { isAlike: true }],
    ['smoothed labels', { smoothing: 0.1 }],
    ['no bias gradient', { bias: false }],
  ])('never says of a batch with %s that it is one sample', (_, options) => {
    for (const seed of SEEDS) {
      for (const samples of [2, 3, 8]) {
        const found = judge(headOf({ classes: 2, samples, seed, ...options }).head);
        expect(found).toMatchObject({ isOneTold: false, status: 'not-identifiable' });
        expect(found!.label.classes).toEqual([]);
      }
    }
  });

  it('tells one sample by a hard label that comes out exactly', () => {
    for (const seed of SEEDS) {
      const { head, labels } = headOf({ classes: 2, samples: 1, seed });
      const found = judge(head)!;
      expect(found).toMatchObject({ isOneTold: true, status: 'recovered' });
      expect(found.label.classes[0]!.index).toBe(labels[0]);
    }
  });

  it('tells a soft label of one sample only where that is stated', () => {
    const { head } = headOf({ classes: 2, samples: 1, seed: 5, smoothing: 0.1 });
    expect(judge(head)).toMatchObject({ isOneTold: false });
    expect(judge(head)!.reason).toContain('state a batch size of 1');
    expect(judge(head, 1)).toMatchObject({ isOneTold: true, status: 'ambiguous' });
  });

  it('says that stated samples cannot be told apart', () => {
    const { head } = headOf({ classes: 2, samples: 1, seed: 6 });
    expect(judge(head, 8)!.reason).toContain('the 8 samples that were stated cannot be told apart');
  });
});

describe('a gradient in half precision', () => {
  it('never says of samples whose features are nearly equal that they are one with a soft label', () => {
    let ranksOfOne = 0;
    for (const seed of SEEDS) {
      const { head, labels } = headOf({ classes: 10, samples: 8, seed, spread: 3e-4, isHalf: true });
      const found = judge(head);
      ranksOfOne += found ? 1 : 0;
      if (found && new Set(labels).size > 1) {
        expect(found).toMatchObject({ isOneTold: false, status: 'not-identifiable' });
        expect(found.reason).toContain('nearly equal features');
      }
    }
    expect(ranksOfOne).toBeGreaterThan(20);
  });

  it('still tells one sample with a hard label', () => {
    for (const seed of SEEDS) {
      const { head, labels } = headOf({ classes: 10, samples: 1, seed, isHalf: true });
      const found = judge(head)!;
      expect(found).toMatchObject({ isOneTold: true, status: 'recovered' });
      expect(found.label.classes[0]!.index).toBe(labels[0]);
    }
  });
});

describe('a head with one sigmoid per class', () => {
  it('never takes further samples for noise on one', () => {
    for (const seed of SEEDS) {
      for (const [classes, samples] of [
        [2, 2],
        [5, 2],
        [5, 8],
        [10, 32],
        [20, 32],
      ] as const) {
        const found = judge(headOf({ classes, samples, seed, activation: 'sigmoid' }).head);
        expect(found?.status ?? 'batch').not.toBe('recovered');
        expect(found?.isOneTold === true && found.status !== 'not-identifiable').toBe(false);
      }
    }
  });

  it('tells one sample by the rank', () => {
    const { head, labels } = headOf({ classes: 5, samples: 1, seed: 9, activation: 'sigmoid' });
    const found = judge(head)!;
    expect(found).toMatchObject({ isOneTold: true, status: 'recovered', activation: 'sigmoid' });
    expect(found.label.classes.map(({ index }) => index)).toEqual(labels);
  });
});

describe('a sure prediction, whose p - 1 float32 rounds', () => {
  it.each([true, false])('gives its label away, with a bias gradient: %s', (bias) => {
    let rounded = 0;
    for (const seed of MANY_SEEDS) {
      const { head, labels } = headOf({ classes: 10, samples: 1, seed, bias, sureness: 10 });
      const shape = shapeOfGradient(head);
      if (shape.columnSum < 2e-3 || !Number.isFinite(shape.columnSum)) {
        continue;
      }
      const found = judge(head)!;
      // What is left of a still surer one is rounding alone.
      if (found.status === 'recovered') {
        rounded++;
        expect(found).toMatchObject({ activation: 'softmax', isOneTold: true });
        expect(found.label.classes.map(({ index }) => index)).toEqual([labels[0]]);
      }
    }
    expect(rounded).toBeGreaterThan(1);
  });
});

describe('a prediction so sure that float32 rounds its p - 1', () => {
  it('is told by the other classes, and what is below the head by the numbers that were captured', () => {
    let rounded = 0;
    for (const seed of SEEDS) {
      const { head } = headOf({ classes: 10, samples: 1, seed, sureness: 6 });
      const { captured, problem, scalar } = factorsOf(head, shapeOfGradient(head));
      head.biasGradient!.forEach((own, at) => {
        expect(Math.abs(captured[at]! / scalar! - own)).toBeLessThanOrEqual(1e-6 * Math.abs(own));
      });
      const label = head.biasGradient!.findIndex((own) => own < 0);
      const moved = Math.abs(problem.u[label]! / captured[label]! - 1);
      rounded += Number(moved > 1e-5);
    }
    expect(rounded).toBeGreaterThan(2);
  });
});
