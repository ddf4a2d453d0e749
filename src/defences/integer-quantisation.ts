import type { Defence } from './defence.js';

/** Whole numbers of few bits: a grid of equal steps, symmetric around zero, over each tensor's own range. */
export const integerQuantisation: Defence = {
  id: 'integer-quantisation',
  title: 'Integers of few bits',
  explanation:
    "Each tensor is rounded to whole multiples of one step, its largest number being the type's largest; the level is the number of bits, 8 being int8.",
  unit: 'bits',
  scale: 'linear',
  isMonotone: false,
  isRandom: false,
  levels: () => [8, 6, 4, 3, 2].map((value) => ({ value, name: `${value} bits`, also: value === 8 ? 'int8' : null })),
  apply({ data }, { value }) {
    const most = data.reduce((largest, own) => Math.max(largest, Math.abs(own)), 0);
    const step = most / (2 ** (value - 1) - 1);
    return step > 0 ? data.map((own) => step * Math.round(own / step)) : data.slice();
  },
};
