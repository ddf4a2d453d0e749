import type { Defence } from './defence.js';

/** The whole update made shorter. By itself it only scales: the sweep shows that. */
export const clipping: Defence = {
  id: 'clipping',
  title: 'Clipping alone',
  explanation:
    "The update is made as short as the clip norm, as DP-SGD does before it adds noise; the level is that norm against the update's own.",
  unit: "clip norm against the update's norm",
  scale: 'log',
  isMonotone: true,
  isRandom: false,
  levels: ({ norm }) =>
    [0.3, 0.1, 0.01, 0.001, 0.0001].map((value) => ({
      value,
      name: `clipped to ${value} of the norm`,
      also: `a clip norm of ${(value * norm).toPrecision(3)}`,
    })),
  apply: ({ data }, { value }) => data.map((own) => value * own),
};
