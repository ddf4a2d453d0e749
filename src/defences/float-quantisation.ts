import type { Defence } from './defence.js';
import { BFLOAT16, FLOAT16, FLOAT8_E4M3, toGrid } from './float-grid.js';

const TYPES = [
  { name: 'float16', also: 'half precision', round: (data: Float64Array) => data.map((own) => toGrid(own, FLOAT16)) },
  { name: 'bfloat16', also: null, round: (data: Float64Array) => data.map((own) => toGrid(own, BFLOAT16)) },
  { name: 'float8 (e4m3)', also: 'each tensor scaled to its range', round: toFloat8 },
] as const;

/** Shorter floating-point types, as updates are sent to save bytes. */
export const floatQuantisation: Defence = {
  id: 'float-quantisation',
  title: 'Shorter floating-point types',
  explanation: 'Each number is rounded to a shorter floating-point type; the levels are the types.',
  unit: '',
  scale: 'names',
  isMonotone: false,
  isRandom: false,
  levels: () => TYPES.map(({ name, also }, value) => ({ value, name, also })),
  apply: ({ data }, { value }) => TYPES[value]!.round(data),
};

function toFloat8(data: Float64Array): Float64Array {
  const most = data.reduce((largest, own) => Math.max(largest, Math.abs(own)), 0);
  const scale = most > 0 ? FLOAT8_E4M3.largest / most : 1;
  return data.map((own) => toGrid(own * scale, FLOAT8_E4M3) / scale);
}
