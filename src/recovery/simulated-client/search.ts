import { adam } from '../matching/optimisers.js';
import { gaussian } from '../gaussian.js';
import { type Pause, isStop } from '../pause.js';
import type { LocalStep, SimulatedClient, Weights } from './client.js';
import { distanceOf } from './distance.js';
import { totalVariation } from './total-variation.js';

/**
 * Searches samples whose simulated training ends where the client's did (Dimitrov, Balunovic, Konstantinov, Vechev, "Data Leakage
 * in Federated Averaging", TMLR 2022).
 */

export interface ClientSearch {
  /** Channels, height, width. */
  readonly shape: readonly number[];
  readonly samples: number;
  /** Lowest and highest value of each channel, in the network's units. */
  readonly bounds: readonly (readonly [number, number])[];
  readonly start: Weights;
  /** Captured: weights after minus weights before. */
  readonly update: Weights;
  /** The order that samples are taken to have come in. */
  readonly steps: readonly LocalStep[];
  readonly iterations: number;
  /** Of total variation, in the range of values, beside the squared share of the update that is not explained. */
  readonly priorWeight: number;
  /** Uniform in [0, 1); draws the images that the search begins at. */
  readonly random: () => number;
}

export interface SearchState {
  readonly iteration: number;
  /** Share of the update that the images so far leave. */
  readonly error: number;
  /** So far, N x d. */
  readonly images: Float64Array;
}

export interface SearchResult {
  /** N x d. */
  readonly images: Float64Array;
  readonly error: number;
  readonly curve: readonly { readonly iteration: number; readonly error: number }[];
  readonly stopped: boolean;
}

const CURVE_POINTS = 100;
/** Of Adam, as a share of the range of values; falls to zero along a half cosine. */
const LEARNING_RATE = 0.1;
/** The first images: noise around a dark grey, as shares of the range. */
const START_LEVEL = 0.3;
const START_DEVIATION = 0.1;

/**
 * @param pause after every iteration, and between steps with undefined; stopping keeps what there is
 * @throws CancelledError when stopped before the first iteration
 */
export async function searchImages(
  client: SimulatedClient,
  { shape, samples, bounds, start, update, steps, iterations, priorWeight, random }: ClientSearch,
  pause: Pause<SearchState | undefined>,
): Promise<SearchResult> {
  const size = shape.reduce((product, own) => product * own, 1);
  const perChannel = size / bounds.length;
  const boundsOf = (at: number): readonly [number, number] => bounds[Math.floor((at % size) / perChannel)]!;
  // Searched between 0 and 1, so that rate and prior mean the same whatever the normalisation.
  const x = Float64Array.from({ length: samples * size }, () =>
    within(START_LEVEL + gaussian(random, START_DEVIATION)),
  );
  const inUnits = (): Float64Array =>
    x.map((value, at) => {
      const [low, high] = boundsOf(at);
      return low + (high - low) * value;
    });
  const optimiser = adam(x.length, false);
  const curve: { iteration: number; error: number }[] = [];
  const betweenSteps = (): Promise<void> => pause(undefined);
  let last: { images: Float64Array; error: number } | undefined;
  try {
    for (let iteration = 0; iteration <= iterations; iteration++) {
      const images = inUnits();
      const states = await client.states(images, steps, betweenSteps);
      const { loss, adjoint, error } = distanceOf(start, states.at(-1)!, update);
      if (!Number.isFinite(loss)) {
        break;
      }
      last = { images, error };
      if (iteration % Math.max(1, Math.floor(iterations / CURVE_POINTS)) === 0 || iteration === iterations) {
        curve.push({ iteration, error });
      }
      if (iteration < iterations) {
        const slope = await client.slope(images, steps, states, adjoint, betweenSteps);
        const prior = totalVariation(x, samples, shape);
        for (let at = 0; at < slope.length; at++) {
          const [low, high] = boundsOf(at);
          slope[at] = slope[at]! * (high - low) + priorWeight * prior.slope[at]!;
        }
        const rate = LEARNING_RATE * 0.5 * (1 + Math.cos((Math.PI * iteration) / iterations));
        await optimiser.step(x, rate, () => Promise.resolve({ loss, slope }));
        for (let at = 0; at < x.length; at++) {
          x[at] = within(x[at]!);
        }
      }
      await pause({ iteration, error, images });
    }
  } catch (error) {
    if (!isStop(error) || !last) {
      throw error;
    }
    return { ...last, curve, stopped: true };
  }
  return { ...(last ?? { images: inUnits(), error: Infinity }), curve, stopped: false };
}

function within(share: number): number {
  return Math.min(Math.max(share, 0), 1);
}
