import { describe, expect, it } from 'vitest';
import { softmax } from '../../../../src/recovery/activation.js';
import { gaussian } from '../../../../src/recovery/gaussian.js';
import { type Course, Confirmation } from '../../../../src/recovery/hidden/confirmed-together.js';
import { FactoredLayer } from '../../../../src/recovery/hidden/factored-layer.js';
import { isClear, labelOf } from '../../../../src/recovery/hidden/label-above.js';
import { outputsOf, stateAt } from '../../../../src/recovery/hidden/layer-state.js';
import { type Matrix, multiplyTransposed, withColumn } from '../../../../src/recovery/linear-algebra.js';
import { generator } from '../../../../src/recovery/paper-method.js';
import { truncatedSvd } from '../../../../src/recovery/truncated-svd.js';
import { relativeError } from '../../../networks.js';

/** A batch of one hidden layer and a classifier, whose gradient is known in closed form. */

const [UNITS, INPUTS, CLASSES, SAMPLES] = [40, 60, 6, 5];
const NOISE = 1e-9;
const random = generator(4);

function normal(rows: number, cols: number, deviation: number): Matrix {
  return { rows, cols, data: Float64Array.from({ length: rows * cols }, () => gaussian(random, deviation)) };
}

const layer = { weight: normal(UNITS, INPUTS, 0.2), bias: normal(UNITS, 1, 0.1).data };
const classifier = { weight: normal(CLASSES, UNITS, 0.2), bias: normal(CLASSES, 1, 0.1).data };
const labels = [0, 3, 3, 5, 1];
const inputs = labels.map(() => normal(1, INPUTS, 1).data.map((own) => Math.max(own, 0)));
const slopes = inputs.map((input, at) => slopesOf(input, labels[at]!));

/** W^T (p - y) / B where units are active: dL/d(W x + b) of the mean cross-entropy. */
function slopesOf(input: Float64Array, label: number): Float64Array {
  const outputs = outputsOf(input, layer);
  const p = softmax(
    outputsOf(
      outputs.map((own) => Math.max(own, 0)),
      classifier,
    ),
  );
  const pull = p.map((own, index) => (own - Number(index === label)) / SAMPLES);
  return multiplyTransposed(classifier.weight, pull).map((own, unit) => (outputs[unit]! > 0 ? own : 0));
}

async function factored(): Promise<FactoredLayer> {
  const weight = new Float64Array(UNITS * INPUTS);
  const bias = new Float64Array(UNITS);
  slopes.forEach((own, at) =>
    own.forEach((slope, unit) => {
      bias[unit]! += slope;
      inputs[at]!.forEach((value, col) => (weight[unit * INPUTS + col]! += slope * value));
    }),
  );
  const whole = withColumn({ rows: UNITS, cols: INPUTS, data: weight }, bias);
  const svd = await truncatedSvd(whole, { floor: NOISE, most: 10 }, () => Promise.resolve());
  expect(svd.rank).toBe(SAMPLES);
  return new FactoredLayer(svd, { ...layer, isLive: new Uint8Array(UNITS).fill(1) }, NOISE, random);
}

/** b of each input: right diag(values) b = (x, 1). */
function mixturesOf(own: FactoredLayer): Float64Array[] {
  return inputs.map((input) =>
    multiplyTransposed(own.right, Float64Array.from([...input, 1])).map((value, at) => value / own.values[at]!),
  );
}

const COURSE: Course = { states: [{ layer, classifier, scale: undefined }] };
const ALONE: Course = { states: [{ layer, classifier: undefined, scale: undefined }] };

describe('the class of a sample', () => {
  it('is the one whose slopes are those captured', () => {
    inputs.forEach((input, at) => {
      const fit = labelOf(classifier, 1 / SAMPLES, outputsOf(input, layer), slopes[at]!, 0);
      expect(fit.index).toBe(labels[at]);
      expect(fit.off).toBeLessThan(1e-14);
      expect(isClear(fit)).toBe(true);
    });
  });

  it('is never another where few units are active, weights are off and some units may be left out', () => {
    const [units, classes] = [128, 10];
    let told = 0;
    for (let trial = 0; trial < 100; trial++) {
      const weight = normal(classes, units, 0.1);
      const seen = { ...weight, data: weight.data.map((own) => own + gaussian(random, 0.01)) };
      const outputs = Float64Array.from(
        { length: units },
        () => (random() < 0.16 ? 1 : -1) * Math.abs(gaussian(random)),
      );
      const bias = new Float64Array(classes);
      const hidden = outputs.map((own) => Math.max(own, 0));
      const label = trial % classes;
      const pull = softmax(outputsOf(hidden, { weight: seen, bias })).map((own, at) => own - Number(at === label));
      const own = multiplyTransposed(seen, pull).map((slope, unit) => (outputs[unit]! > 0 ? slope : 0));
      const fit = labelOf({ weight, bias }, 1, outputs, own, 0.15);
      if (isClear(fit)) {
        told++;
        expect(fit.index).toBe(label);
      }
    }
    expect(told).toBeGreaterThan(80);
  });

  it('is not told in another scale', () => {
    const fit = labelOf(classifier, 1, outputsOf(inputs[0]!, layer), slopes[0]!, 0);
    expect(isClear(fit)).toBe(false);
  });
});

describe('samples that are confirmed together', () => {
  it('come with their labels and an error that is that of their numbers', async () => {
    const own = await factored();
    const { confirmed, samples } = new Confirmation(own, COURSE).of(mixturesOf(own))!;
    expect(confirmed).toBe(SAMPLES);
    expect(samples!.map(({ label }) => label!.index)).toEqual(labels);
    samples!.forEach(({ input, slopes: told, error }, at) => {
      expect(relativeError(input, inputs[at]!)).toBeLessThan(1e-9);
      expect(relativeError(told, slopes[at]!)).toBeLessThan(1e-9);
      expect(error).toBeLessThan(1e-6);
    });
  });

  it.each([0.3, 0.03, 3e-3, 1e-4])('are not told nearer than they are where one holds %d of another', async (share) => {
    const own = await factored();
    for (const course of [COURSE, ALONE]) {
      for (let first = 0; first < SAMPLES; first++) {
        for (let second = 0; second < SAMPLES; second++) {
          const confirmation = new Confirmation(own, course);
          const mixtures = mixturesOf(own);
          const held = mixtures[first]!.map((value, at) => value + share * mixtures[second]![at]!);
          mixtures[first] = confirmation.normalised(held);
          const told = second === first ? undefined : confirmation.of(mixtures)!.samples;
          for (const { input, error } of told ?? []) {
            const nearest = inputs.map((wanted) => Math.hypot(...input.map((value, at) => value - wanted[at]!)));
            expect(error * Math.sqrt(INPUTS)).toBeGreaterThan(Math.min(...nearest) / 2);
          }
        }
      }
    }
  });

  it('tell the one that is missing', async () => {
    const own = await factored();
    const mixtures = mixturesOf(own);
    mixtures.forEach((wanted, at) => {
      const found = new Confirmation(own, COURSE).missing(mixtures.filter((_, other) => other !== at));
      expect(relativeError(found!, wanted)).toBeLessThan(1e-6);
    });
    expect(new Confirmation(own, ALONE).missing(mixtures.slice(1))).toBeUndefined();
    const other: Course = {
      states: [{ layer, classifier: { ...classifier, weight: normal(CLASSES, UNITS, 0.2) }, scale: 1 }],
    };
    expect(new Confirmation(own, other).missing(mixtures.slice(1))).toBeUndefined();
  });

  it('are looked for at weights on the way', () => {
    const update = { weight: normal(UNITS, INPUTS, 1), bias: normal(UNITS, 1, 1).data };
    const half = stateAt(layer, update, 0.5);
    expect(half.weight.data[7]).toBe(layer.weight.data[7]! - 0.5 * update.weight.data[7]!);
    expect(half.bias[3]).toBe(layer.bias[3]! - 0.5 * update.bias[3]!);
    expect(stateAt(layer, update, 0)).toEqual(layer);
  });
});
