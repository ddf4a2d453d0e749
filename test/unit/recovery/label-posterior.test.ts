import { describe, expect, it } from 'vitest';
import { shapeOfGradient } from '../../../src/recovery/head-gradient.js';
import { generator } from '../../../src/recovery/paper-method.js';
import type { RecoveredSample } from '../../../src/recovery/recovered-sample.js';
import { recoverSingle } from '../../../src/recovery/single-sample.js';
import { type SyntheticLabel, gaussian, syntheticSample } from '../../synthetic-head.js';

/** Stated confidence must be the frequency of being right: many synthetic heads, the textbook gradient (p - y) x^T. */

const KINDS: SyntheticLabel[] = ['hard', 'smoothed', 'mixup', 'mixup-smoothed'];

function topOf(label: Float64Array): number {
  return label.reduce((best, value, index) => (value > label[best]! ? index : best), 0);
}

type Made = ReturnType<typeof syntheticSample>;

function changed({ head, ...rest }: Made, change: (value: number) => number): Made {
  const { weightGradient, biasGradient } = head;
  return {
    ...rest,
    head: {
      ...head,
      weightGradient: { ...weightGradient, data: weightGradient.data.map((value) => Math.fround(change(value))) },
      biasGradient: biasGradient?.map((value) => Math.fround(change(value))),
    },
  };
}

function recover(made: Made): RecoveredSample {
  return recoverSingle(made.head, shapeOfGradient(made.head));
}

function isWrong(
  { label, classConfidence, kindConfidence, status }: RecoveredSample,
  truth: Float64Array,
  kind: string,
) {
  const isStated = status === 'recovered' || classConfidence >= 0.99;
  return {
    class: isStated && label.classes[0]?.index !== topOf(truth),
    kind: status === 'recovered' && kindConfidence >= 0.98 && label.kind !== kind,
  };
}

describe('the opposite sign', () => {
  it.each([true, false])('bias %s: of 60 differences - lr g none is recovered, and most are told', (bias) => {
    const random = generator(31);
    let told = 0;
    for (let run = 0; run < 60; run++) {
      const kind = KINDS[run % 4]!;
      const rate = 10 ** (-3 + 2 * random());
      const made = syntheticSample({ classes: 10, features: 64, kind, bias, random, spread: 6 });
      const sample = recover(changed(made, (value) => -rate * value));
      expect(sample.status).not.toBe('recovered');
      told += sample.isReversed ? 1 : 0;
    }
    expect(told).toBeGreaterThan(45);
  });
});

describe('clipped and noised gradients', () => {
  it.each([true, false])('bias %s: the clip factor is not taken for smoothing', (bias) => {
    const random = generator(32);
    let stated = 0;
    for (let run = 0; run < 60; run++) {
      const kind = KINDS[run % 4]!;
      const made = syntheticSample({ classes: 10, features: 512, kind, bias, random, spread: 8 });
      const size = Math.hypot(...made.head.weightGradient.data) / Math.sqrt(5120);
      const share = 10 ** (-3.5 + 2.8 * random());
      const sample = recover(changed(made, (value) => 0.4 * (value + share * size * gaussian(random))));
      const wrong = isWrong(sample, made.label, kind);
      expect(wrong).toEqual({ class: false, kind: false });
      stated += sample.classConfidence >= 0.99 ? 1 : 0;
    }
    expect(stated).toBeGreaterThan(15);
  });
});

describe('noise without a bias gradient', () => {
  it('leaves the kind open where smoothing cannot be told from noise, with an interval that holds the truth', () => {
    const random = generator(33);
    let open = 0;
    let inside = 0;
    for (let run = 0; run < 80; run++) {
      const made = syntheticSample({ classes: 10, features: 64, kind: 'smoothed', bias: false, random, spread: 2 });
      const size = Math.hypot(...made.head.weightGradient.data) / Math.sqrt(640);
      const sample = recover(changed(made, (value) => value + 0.3 * size * gaussian(random)));
      if (sample.status === 'not-identifiable') {
        continue;
      }
      expect(isWrong(sample, made.label, 'smoothed')).toEqual({ class: false, kind: false });
      if (sample.label.kind === 'undetermined') {
        open++;
        const [low, high] = sample.topRange;
        const truth = made.label[topOf(made.label)]!;
        inside += truth >= low && truth <= high ? 1 : 0;
        expect(sample.openKinds.length).toBeGreaterThan(0);
      }
    }
    expect(open).toBeGreaterThan(20);
    expect(inside / open).toBeGreaterThan(0.85);
  });
});

describe('what is no gradient of this checkpoint', () => {
  it.each([true, false])('bias %s: other weights are never called recovered', (bias) => {
    const random = generator(34);
    for (let run = 0; run < 60; run++) {
      const classes = [4, 10, 40][run % 3]!;
      const options = { classes, features: 64, kind: KINDS[run % 4]!, bias, random, spread: 4 };
      const made = syntheticSample(options);
      const other = syntheticSample(options).head;
      const head = { ...made.head, weight: other.weight, bias: other.bias };
      expect(recoverSingle(head, shapeOfGradient(head)).status).not.toBe('recovered');
    }
  });

  it('rank-one random numbers are never called recovered', () => {
    const random = generator(35);
    for (let run = 0; run < 60; run++) {
      const made = syntheticSample({ classes: 10, features: 64, kind: 'hard', bias: false, random });
      const u = Float64Array.from({ length: 10 }, () => gaussian(random));
      const mean = u.reduce((sum, value) => sum + value, 0) / 10;
      const data = made.head.weightGradient.data.map((_, at) =>
        Math.fround((u[Math.floor(at / 64)]! - mean) * made.feature[at % 64]!),
      );
      const head = { ...made.head, weightGradient: { rows: 10, cols: 64, data } };
      expect(recoverSingle(head, shapeOfGradient(head)).status).not.toBe('recovered');
    }
  });
});
