import { adam } from '../matching/optimisers.js';
import { gaussian } from '../gaussian.js';
import { generator } from '../paper-method.js';
import { type Pause, isStop } from '../pause.js';
import type { SimulatedClient, Weights } from './client.js';
import { distanceOf } from './distance.js';
import { totalVariation } from './total-variation.js';

/**
 * Searches samples whose simulated training ends where the client's did (Dimitrov, Balunovic, Konstantinov, Vechev, "Data Leakage
 * in Federated Averaging", TMLR 2022).
 */

export interface ClientSearch {
  /** Channels x height x width, or whatever one input is. */
  readonly shape: readonly number[];
  readonly samples: number;
  /** Lowest and highest value of each channel; an input without channels has one. */
  readonly bounds: readonly (readonly [number, number])[];
  readonly start: Weights;
  /** Captured: weights after minus weights before. */
  readonly update: Weights;
  readonly settings: SearchSettings;
}

export interface SearchSettings {
  readonly iterations: number;
  /** Of Adam, as a share of the range of values; falls to zero along a half cosine. */
  readonly learningRate: number;
  /** Weight of total variation beside the relative distance. */
  readonly totalVariation: number;
  readonly seed: number;
}

export interface SearchState {
  readonly iteration: number;
  /** Relative distance of simulated and captured update. */
  readonly error: number;
  /** Best so far, N x d. */
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
/** Deviation of the first images from the middle of the range, as a share of it. */
const START_DEVIATION = 0.1;

/**
 * The images with the lowest distance and prior together; the truth takes no part.
 *
 * @param images where to start, N x d; noise around the middle of the range when absent
 * @param pause after every step; stopping keeps the best so far
 */
export async function searchImages(
  client: SimulatedClient,
  { shape, samples, bounds, start, update, settings }: ClientSearch,
  pause: Pause<SearchState | undefined>,
  images?: Float64Array,
): Promise<SearchResult> {
  const size = shape.reduce((product, own) => product * own, 1);
  const perChannel = size / bounds.length;
  const boundsOf = (at: number): readonly [number, number] => bounds[Math.floor((at % size) / perChannel)]!;
  const random = generator(settings.seed);
  const x =
    images?.slice() ??
    Float64Array.from({ length: samples * size }, (_, at) => {
      const [low, high] = boundsOf(at);
      return (low + high) / 2 + (high - low) * gaussian(random, START_DEVIATION);
    });
  const range = bounds.reduce((most, [low, high]) => Math.max(most, high - low), 0);
  const optimiser = adam(x.length, false);
  const curve: { iteration: number; error: number }[] = [];
  let best = { loss: Infinity, error: Infinity, images: x.slice() };
  let iteration = 0;
  const breathe = (): Promise<void> => pause(undefined);
  try {
    for (; iteration <= settings.iterations; iteration++) {
      const states = await client.states(x, breathe);
      const { loss: misfit, adjoint, error } = distanceOf(start, states.at(-1)!, update);
      const prior = totalVariation(x, samples, shape);
      const loss = misfit + settings.totalVariation * prior.value;
      if (!Number.isFinite(loss)) {
        break;
      }
      if (loss < best.loss) {
        best = { loss, error, images: x.slice() };
      }
      if (iteration % Math.max(1, Math.floor(settings.iterations / CURVE_POINTS)) === 0) {
        curve.push({ iteration, error });
      }
      if (iteration < settings.iterations) {
        const slope = await client.slope(x, states, adjoint, breathe);
        slope.forEach((own, at) => {
          slope[at] = own + settings.totalVariation * prior.slope[at]!;
        });
        const rate = settings.learningRate * range * 0.5 * (1 + Math.cos((Math.PI * iteration) / settings.iterations));
        await optimiser.step(x, rate, () => Promise.resolve({ loss, slope }));
        x.forEach((value, at) => {
          const [low, high] = boundsOf(at);
          x[at] = Math.min(Math.max(value, low), high);
        });
      }
      await pause({ iteration, error: best.error, images: best.images });
    }
  } catch (error) {
    if (!isStop(error) || best.error === Infinity) {
      throw error;
    }
    return { ...best, curve, stopped: true };
  }
  return { images: best.images, error: best.error, curve, stopped: false };
}
