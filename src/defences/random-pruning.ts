import type { Defence } from './defence.js';
import { uniformDraws } from './draws.js';
import { keptShares } from './kept-shares.js';

/** Numbers left out by chance, whatever their size. What a smaller share keeps, a larger one keeps too. */
export function randomPruning(): Defence {
  const draws = uniformDraws();
  return {
    id: 'random-pruning',
    title: 'Keeping numbers by chance',
    explanation: 'Each number is sent with one probability, else as zero; the level is that probability.',
    unit: 'share of numbers kept',
    scale: 'log',
    isMonotone: true,
    isRandom: true,
    levels: keptShares,
    apply({ name, data, draw }, { value }) {
      const drawn = draws.of(name, data.length, draw);
      return data.map((own, at) => (drawn[at]! < value ? own : 0));
    },
  };
}
