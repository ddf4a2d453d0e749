import { type TensorData, type TensorNode, sizeOf } from '../../graph/tensor-graph.js';
import type { Pause } from '../pause.js';
import { LABELS, RATE, type StepGraph, adjointName, weightName } from './step-graph.js';

/** A client's local training, simulated from its samples, and how its end depends on them. */

/** One local step: which samples are in its batch, and its learning rate. */
export interface LocalStep {
  readonly samples: readonly number[];
  readonly rate: number;
}

/** Weights in the order of their names, each flat. */
export type Weights = readonly TensorData[];

/** Runs one graph many times. */
export interface StepProgram {
  run(feeds: Readonly<Record<string, TensorData>>): Promise<readonly TensorData[]>;
  dispose(): Promise<void>;
}

/** Prepares outputs for many runs; an engine, or plain loops. */
export type Compile = (outputs: readonly TensorNode[]) => Promise<StepProgram>;

export interface SimulatedClient {
  /**
   * Weights before each step, and after the last one.
   *
   * @param images N x d numbers
   * @param steps local steps, in their order
   */
  states(images: Float64Array, steps: readonly LocalStep[], pause: Pause): Promise<Weights[]>;
  /**
   * dloss/dimages, N x d, by walking the steps back (the adjoint method): memory holds the weights of every step, and none of a
   * step's inner values.
   *
   * @param states what `states` gave for these images and steps
   * @param adjoint dloss/dweights after the last step
   */
  slope(
    images: Float64Array,
    steps: readonly LocalStep[],
    states: readonly Weights[],
    adjoint: Weights,
    pause: Pause,
  ): Promise<Float64Array>;
  dispose(): Promise<void>;
}

interface Programs {
  readonly size: number;
  readonly forward: StepProgram;
  readonly backward: StepProgram;
}

/**
 * @param start weights before the first step
 * @param labels N x K
 * @param sizes of batches that steps may have
 * @param stepOf the graph of a step of so many samples
 * @throws what compiling throws
 */
export async function simulatedClient(
  start: Weights,
  labels: Float64Array,
  classes: number,
  sizes: readonly number[],
  stepOf: (batch: number) => StepGraph,
  compile: Compile,
): Promise<SimulatedClient> {
  const programs = new Map<number, Programs>();
  const made: StepProgram[] = [];
  try {
    for (const batch of new Set(sizes)) {
      const { next, adjoints, slope } = stepOf(batch);
      const forward = await compile(next);
      made.push(forward);
      const backward = await compile([...adjoints, slope]);
      made.push(backward);
      programs.set(batch, { size: sizeOf(slope.shape.slice(1)), forward, backward });
    }
  } catch (error) {
    await Promise.all(made.map((own) => own.dispose()));
    throw error;
  }
  const programsOf = ({ samples }: LocalStep): Programs => {
    const own = programs.get(samples.length);
    if (!own) {
      throw new RangeError(`A step of ${samples.length} samples was not prepared.`);
    }
    return own;
  };
  const feedsOf = (step: LocalStep, weights: Weights, images: Float64Array): Record<string, TensorData> => ({
    x: rowsOf(images, step.samples, programsOf(step).size),
    [LABELS]: rowsOf(labels, step.samples, classes),
    [RATE]: Float64Array.of(step.rate),
    ...Object.fromEntries(weights.map((data, index) => [weightName(index), data])),
  });
  return {
    async states(images, steps, pause) {
      const states: Weights[] = [start];
      for (const step of steps) {
        states.push(await programsOf(step).forward.run(feedsOf(step, states.at(-1)!, images)));
        await pause();
      }
      return states;
    },
    async slope(images, steps, states, last, pause) {
      const slope = new Float64Array(images.length);
      let adjoint = last;
      for (let at = steps.length - 1; at >= 0; at--) {
        const step = steps[at]!;
        const { backward, size } = programsOf(step);
        const outputs = await backward.run({
          ...feedsOf(step, states[at]!, images),
          ...Object.fromEntries(adjoint.map((data, index) => [adjointName(index), data])),
        });
        addRows(slope, outputs.at(-1)!, step.samples, size);
        adjoint = outputs.slice(0, -1);
        await pause();
      }
      return slope;
    },
    async dispose() {
      for (const { forward, backward } of programs.values()) {
        await forward.dispose();
        await backward.dispose();
      }
    },
  };
}

function rowsOf(rows: Float64Array, which: readonly number[], size: number): Float64Array {
  const taken = new Float64Array(which.length * size);
  which.forEach((row, at) => {
    taken.set(rows.subarray(row * size, (row + 1) * size), at * size);
  });
  return taken;
}

function addRows(to: Float64Array, rows: TensorData, which: readonly number[], size: number): void {
  which.forEach((row, at) => {
    for (let column = 0; column < size; column++) {
      to[row * size + column]! += rows[at * size + column]!;
    }
  });
}
