import type { Layer } from '../../network/layers/recipe.js';

/** What an activation's output says of its input. */
export interface InvertedEntry {
  /** Pre-activation z; NaN where the output does not tell it (ReLU at 0). */
  readonly z: Float64Array;
  /** phi'(z) of each entry. */
  readonly slope: Float64Array;
  /** d phi'(z) / d output: how an error of the output shifts the slope. */
  readonly slopeChange: Float64Array;
}

/** Outputs closer to saturation than this are held back: their pre-activation is not known at all. */
const SATURATION = 1e-12;

/** True for activations whose output determines the input, or does so where it is positive (ReLU). */
export function isInvertible(layer: Layer): boolean {
  switch (layer.op) {
    case 'sigmoid':
    case 'tanh':
    case 'relu':
    case 'identity':
    case 'dropout':
      return true;
    case 'leaky-relu':
      return (layer.slope ?? 0.01) > 0;
    case 'elu':
      return (layer.alpha ?? 1) > 0;
    default:
      return false;
  }
}

/**
 * Inverts an activation entry by entry.
 *
 * @param output phi(z), with whatever error earlier steps left
 * @param tolerance entries up to this count as zero for ReLU: rounding of what was recovered above
 * @throws RangeError for an activation that is not invertible
 */
export function invertActivation(layer: Layer, output: Float64Array, tolerance: number): InvertedEntry {
  const z = new Float64Array(output.length);
  const slope = new Float64Array(output.length);
  const slopeChange = new Float64Array(output.length);
  output.forEach((a, at) => {
    switch (layer.op) {
      case 'sigmoid': {
        const held = Math.min(Math.max(a, SATURATION), 1 - SATURATION);
        z[at] = Math.log(held / (1 - held));
        slope[at] = held * (1 - held);
        slopeChange[at] = 1 - 2 * held;
        break;
      }
      case 'tanh': {
        const held = Math.min(Math.max(a, -1 + SATURATION), 1 - SATURATION);
        z[at] = Math.atanh(held);
        slope[at] = 1 - held * held;
        slopeChange[at] = -2 * held;
        break;
      }
      case 'relu': {
        const active = a > tolerance;
        z[at] = active ? a : NaN;
        slope[at] = active ? 1 : 0;
        break;
      }
      case 'leaky-relu': {
        const below = layer.slope ?? 0.01;
        z[at] = a > 0 ? a : a / below;
        slope[at] = a > 0 ? 1 : below;
        break;
      }
      case 'elu': {
        const alpha = layer.alpha ?? 1;
        const held = Math.max(a, -alpha * (1 - SATURATION));
        z[at] = a > 0 ? a : Math.log1p(held / alpha);
        slope[at] = a > 0 ? 1 : held + alpha;
        slopeChange[at] = a > 0 ? 0 : 1;
        break;
      }
      case 'identity':
      case 'dropout':
        z[at] = a;
        slope[at] = 1;
        break;
      default:
        throw new RangeError(`"${layer.op}" cannot be inverted.`);
    }
  });
  return { z, slope, slopeChange };
}
