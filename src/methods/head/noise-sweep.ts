import { normalDraws } from '../../defences/draws.js';
import { noised } from '../../defences/gaussian-noise.js';
import { type DefenceSweep, sweepLevels } from '../../defences/sweep.js';
import { shapeOfGradient, type HeadGradient } from '../../recovery/head-gradient.js';
import type { RecoveredSample } from '../../recovery/recovered-sample.js';
import { recoverSingle } from '../../recovery/single-sample.js';

/** How much noise would have hidden the label: the audit's own recovery, run on noised copies of the gradient. */
export interface NoiseSweep extends DefenceSweep {
  /** Level as a standard deviation in the gradient's units; levels are shares of its root mean square. */
  readonly standardDeviation: number | null;
}

/** Larger heads are left out so that an answer stays a matter of milliseconds. */
const MOST_ENTRIES = 50_000;
const LEVELS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30];

/** Undefined for heads too large to try within an audit. */
export function sweepNoise(head: HeadGradient, sample: RecoveredSample): NoiseSweep | undefined {
  const { weightGradient, biasGradient } = head;
  const { data } = weightGradient;
  if (data.length > MOST_ENTRIES) {
    return undefined;
  }
  const rms = Math.sqrt(data.reduce((sum, value) => sum + value * value, 0) / data.length);
  const draws = normalDraws();
  const found = sweepLevels(LEVELS, (level, draw) =>
    stillTold(
      {
        ...head,
        weightGradient: { ...weightGradient, data: noised(data, level * rms, draws, 'weight', draw) },
        biasGradient: biasGradient && noised(biasGradient, level * rms, draws, 'bias', draw),
      },
      sample,
    ),
  );
  return { ...found, standardDeviation: found.stopsAt === null ? null : found.stopsAt * rms };
}

/** An attacker takes the best guess, certain or not: the label is told when its main class is. */
function stillTold(head: HeadGradient, sample: RecoveredSample): boolean {
  const shape = shapeOfGradient(head);
  const again = recoverSingle(head, shape.nature === 'batch' ? { ...shape, nature: 'single-noisy' } : shape, {
    isPlain: true,
  });
  const [guess] = again.label.classes;
  return guess !== undefined && guess.index === sample.label.classes[0]?.index;
}
