import type { Defence } from './defence.js';

/** One bit for each number, with one size for each tensor (signSGD, Bernstein et al., ICML 2018; with the mean size as in EF-signSGD). */
export const signOnly: Defence = {
  id: 'sign',
  title: 'Signs alone',
  explanation: 'Of each number only the sign is sent, and of each tensor its mean size; zeros stay zeros.',
  unit: '',
  scale: 'names',
  isMonotone: false,
  isRandom: false,
  levels: () => [{ value: 0, name: 'signs', also: 'one bit a number' }],
  apply({ data }) {
    const size = data.reduce((sum, own) => sum + Math.abs(own), 0) / Math.max(data.length, 1);
    return data.map((own) => size * Math.sign(own));
  },
};
