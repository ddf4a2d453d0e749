import type { Defence, Level, UpdateFigures } from './defence.js';
import { type Draws, normalDraws } from './draws.js';

/** Up to this noise multiplier where a larger update's numbers are many; small ones are tried beyond it. */
const LAST_MULTIPLIER = 1;
const LEAST_TRIED = 100;

/** Gaussian noise on every number, as in DP-SGD. */
export function gaussianNoise(): Defence {
  const draws = normalDraws();
  return {
    id: 'gaussian-noise',
    title: 'Gaussian noise',
    explanation:
      "Independent Gaussian noise on every number; the level is the expected length of the noise against the update's own.",
    unit: "noise against the update's norm",
    scale: 'log',
    isMonotone: true,
    isRandom: true,
    levels: (update) => noiseLevels(update),
    apply: ({ name, data, draw }, { value }, update) => noised(data, deviationOf(value, update), draws, name, draw),
  };
}

/** Standard deviation on each number whose noise is expected to be this many times as long as the update. */
export function deviationOf(level: number, { norm, count }: Pick<UpdateFigures, 'norm' | 'count'>): number {
  return (level * norm) / Math.sqrt(Math.max(count, 1));
}

/** @param deviation standard deviation, in the numbers' own unit */
export function noised(data: Float64Array, deviation: number, draws: Draws, name: string, draw: number): Float64Array {
  const noise = draws.of(name, data.length, draw);
  return data.map((value, at) => value + deviation * noise[at]!);
}

function noiseLevels(update: UpdateFigures): Level[] {
  const last = Math.max(LEAST_TRIED, LAST_MULTIPLIER * Math.sqrt(update.count));
  const levels: Level[] = [];
  for (let power = -5; ; power++) {
    for (const step of [1, 3]) {
      const value = Number(`${step}e${power}`);
      levels.push({ value, name: `${value} of the norm`, also: inMultipliers(value, update) });
      if (value >= last) {
        return levels;
      }
    }
  }
}

/** DP-SGD's words for it: noise of `multiplier` times the length that the update was clipped to, which is its own. */
function inMultipliers(level: number, update: UpdateFigures): string {
  const multiplier = level / Math.sqrt(Math.max(update.count, 1));
  return `noise multiplier ${multiplier.toPrecision(2)} at a clip norm of ${update.norm.toPrecision(3)}, the update's own`;
}
