import { sizeOf } from '../../graph/tensor-graph.js';
import { NETWORK_INPUT } from '../../network/layer-graph.js';
import type { StoredTensor } from '../../network/network-graph.js';
import { type LayerOp, padsOf } from '../../network/layers/recipe.js';
import { invertActivation, isInvertible } from './activation-inverse.js';
import { transposedPlaces } from '../axes.js';
import { gathered, unknownValues } from './estimates.js';
import type { ElementRule, Place } from './inverse-rule.js';
import { rootMeanSquare } from './sums.js';

/** Layers without unknowns of their own: what they take follows from their output, entry by entry. */

export function activationInverse<Op extends LayerOp>(): ElementRule<Op> {
  return {
    solves: false,
    obstacle: ({ layer, output }) =>
      !isInvertible(layer)
        ? 'its input does not follow from its output'
        : output?.known.some((known, at) => known === 0 && output.delta[at] !== 0)
          ? 'the values above it are not known, so its slope is not'
          : undefined,
    invert({ problem, layer }, above) {
      const { forward } = problem.precision;
      const tolerance = 6 * rootMeanSquare(above.error);
      const { z, slope, slopeChange } = invertActivation(layer, above.values, tolerance);
      const error = new Float64Array(z.length);
      const delta = new Float64Array(z.length);
      const deltaError = new Float64Array(z.length);
      const known = new Uint8Array(z.length);
      for (let at = 0; at < z.length; at++) {
        const own = Math.hypot(above.error[at]!, forward * Math.abs(above.values[at]!));
        delta[at] = above.delta[at]! * slope[at]!;
        deltaError[at] = Math.hypot(above.deltaError[at]! * slope[at]!, above.delta[at]! * slopeChange[at]! * own);
        if (Number.isFinite(z[at]!) && slope[at]! > 0) {
          known[at] = 1;
          error[at] = Math.hypot(own / slope[at]!, forward * Math.max(Math.abs(z[at]!), 1));
        }
      }
      return { inputs: [{ values: z, error, delta, deltaError, known }] };
    },
  };
}

/** Identity, dropout in evaluation mode, and what only gives values another shape. */
export function unchanged<Op extends LayerOp>(): ElementRule<Op> {
  return { solves: false, invert: (_, output) => ({ inputs: [output] }) };
}

export const transposeInverse: ElementRule<'transpose'> = {
  solves: false,
  invert: ({ layer, inputShapes: [shape] }, output) => ({
    // The batch is axis 0 of the order, and stays.
    inputs: [
      gathered(
        output,
        transposedPlaces(
          shape!,
          layer.order.slice(1).map((axis) => axis - 1),
        ),
      ),
    ],
  }),
};

export const padInverse: ElementRule<'pad'> = {
  solves: false,
  invert({ layer, inputShapes: [shape] }, output) {
    const [, height, width] = shape as [number, number, number];
    const [top, left, bottom, right] = padsOf(layer.padding, [height, width], [1, 1], [1, 1]);
    const inside = Array.from({ length: sizeOf(shape!) }, (_, at) => {
      const channel = Math.floor(at / (height * width));
      const row = Math.floor(at / width) % height;
      return (channel * (height + top + bottom) + row + top) * (width + left + right) + left + (at % width);
    });
    return { inputs: [gathered(output, inside)] };
  },
};

export const concatInverse: ElementRule<'concat'> = {
  solves: false,
  invert({ layer, inputShapes }, output) {
    const rank = inputShapes[0]!.length;
    const axis = (layer.axis ?? 1) < 0 ? (layer.axis ?? 1) + rank : (layer.axis ?? 1) - 1;
    const inner = sizeOf(inputShapes[0]!.slice(axis + 1));
    const whole = inputShapes.reduce((sum, shape) => sum + shape[axis]!, 0) * inner;
    let start = 0;
    return {
      inputs: inputShapes.map((shape) => {
        const run = shape[axis]! * inner;
        const first = start;
        start += run;
        return gathered(
          output,
          Array.from({ length: sizeOf(shape) }, (_, at) => Math.floor(at / run) * whole + first + (at % run)),
        );
      }),
    };
  },
};

/**
 * A sum hands its gradient to every part. It tells a part's values where the others are parameters or constants; two
 * computed parts are told by the layers below them.
 */
export const addInverse: ElementRule<'add'> = {
  solves: false,
  obstacle: (place) =>
    place.inputShapes.some((shape, at) => computed(place, at) && sizeOf(shape) !== place.output?.delta.length)
      ? 'a sum of values of different shapes is not taken apart'
      : undefined,
  invert(place, above) {
    const parts = place.inputs.map((_, at) =>
      computed(place, at) ? undefined : fixedValues(place, at, above.delta.length),
    );
    const unknowns = parts.filter((part) => part === undefined).length;
    return {
      inputs: parts.map((part) => {
        if (part !== undefined || unknowns > 1) {
          return unknownValues(above.delta, above.deltaError);
        }
        const values = above.values.slice();
        for (const other of parts) {
          other?.forEach((value, at) => {
            values[at]! -= value;
          });
        }
        return { ...above, values };
      }),
    };
  },
};

/** Whether an input of the layer depends on the network's input. */
function computed({ problem, inputs }: Place<'add'>, at: number): boolean {
  const op = problem.recipe.layers[inputs[at]!]?.op;
  return op !== 'parameter' && op !== 'constant';
}

/** A parameter's or constant's values, repeated to the output's size as broadcasting does. */
function fixedValues({ problem, inputs }: Place<'add'>, at: number, length: number): Float64Array {
  const layer = problem.recipe.layers[inputs[at]!]!;
  const { data, shape } =
    layer.op === 'constant'
      ? { data: layer.values, shape: layer.shape }
      : (problem.parameter(layer.op === 'parameter' ? layer.name : '') ?? { data: [0], shape: [1] });
  // Axes of size one at the end are repeated: channels x 1 x 1 is one number per plane.
  const last = shape.findLastIndex((size) => size !== 1);
  const plane = last < 0 || last === shape.length - 1 ? 1 : repeatsOf(problem, inputs, shape.length - 1 - last);
  return Float64Array.from({ length }, (_, entry) => data[Math.floor(entry / plane) % data.length]!);
}

/** Entries of the last `axes` axes of the computed part. */
function repeatsOf(problem: Place<'add'>['problem'], inputs: readonly number[], axes: number): number {
  const shapes = inputs.map((source) =>
    source === NETWORK_INPUT ? problem.recipe.input : problem.outputShapes[source]!,
  );
  return Math.max(...shapes.map((shape) => sizeOf(shape.slice(-axes))));
}

/** The mean's gradient spreads evenly; of what it was made of, the output says nothing. */
export const globalAverageInverse: ElementRule<'global-average-pool'> = {
  solves: false,
  invert({ inputShapes: [shape] }, output) {
    const plane = shape![1]! * shape![2]!;
    const spread = (own: Float64Array): Float64Array =>
      Float64Array.from({ length: sizeOf(shape!) }, (_, at) => own[Math.floor(at / plane)]! / plane);
    return { inputs: [unknownValues(spread(output.delta), spread(output.deltaError))] };
  },
};

/** With running statistics, batch normalisation is one multiplication and one addition per channel. */
export const batchNormInverse: ElementRule<'batch-norm'> = {
  solves: false,
  invert({ problem, layer, inputShapes: [shape] }, output) {
    const tensor = (name: string | undefined): StoredTensor | undefined =>
      name === undefined ? undefined : problem.parameter(name);
    const mean = tensor(layer.mean);
    const variance = tensor(layer.variance);
    const channels = shape![0]!;
    if (!mean || !variance) {
      return 'its running statistics are not in the checkpoint';
    }
    const gamma = tensor(layer.weight)?.data ?? new Float64Array(channels).fill(1);
    const beta = tensor(layer.bias)?.data ?? new Float64Array(channels);
    const factor = Float64Array.from(
      { length: channels },
      (_, c) => gamma[c]! / Math.sqrt(variance.data[c]! + (layer.epsilon ?? 1e-5)),
    );
    const { values, error, delta, deltaError, known } = output;
    const plane = values.length / channels;
    const channelOf = (at: number): number => Math.floor(at / plane);
    return {
      inputs: [
        {
          values: values.map((value, at) => {
            const c = channelOf(at);
            return (value - beta[c]!) / factor[c]! + mean.data[c]!;
          }),
          error: error.map((own, at) => own / Math.abs(factor[channelOf(at)]!)),
          delta: delta.map((own, at) => own * factor[channelOf(at)]!),
          deltaError: deltaError.map((own, at) => own * Math.abs(factor[channelOf(at)]!)),
          known,
        },
      ],
    };
  },
};
