import type { Transformer } from '../../network/transformers/transformer.js';
import type { InputSpace } from '../../recovery/text/input-space.js';

/** How far simulated gradients are from the captured ones, tensor by tensor. */

export interface Difference {
  /** Relative, over all tensors compared. */
  readonly error: number;
  readonly worst: { readonly tensor: string; readonly error: number };
  readonly compared: number;
  /** Length of the captured gradient, of all tensors compared. */
  readonly size: number;
}

/** More of the captured gradient than this many times its noise is something else than noise, such as texts that are missing. */
const MOST_FLOORS = 30;

/** Relative error of the gradient's numbers, as its row spaces show it. */
export function noiseOf({ width }: Transformer, inputs: InputSpace, outputs: InputSpace): number {
  return Math.max(inputs.noise, outputs.noise) * Math.sqrt(width);
}

/** Whether what is left of the captured gradient may be its noise. */
export function mayBeNoise({ error }: Difference, noise: number): boolean {
  return error <= MOST_FLOORS * noise;
}

export class Comparison {
  private readonly squares = new Map<string, { difference: number; size: number }>();

  add(name: string, simulated: Float64Array, captured: Float64Array): void {
    const own = this.squares.get(name) ?? { difference: 0, size: 0 };
    this.squares.set(name, own);
    for (let at = 0; at < captured.length; at++) {
      own.difference += (simulated[at]! - captured[at]!) ** 2;
      own.size += captured[at]! ** 2;
    }
  }

  result(): Difference {
    const all = [...this.squares].map(([tensor, own]) => ({
      tensor,
      ...own,
      error: Math.sqrt(own.difference / own.size),
    }));
    const [difference, size] = [
      all.reduce((sum, own) => sum + own.difference, 0),
      all.reduce((sum, own) => sum + own.size, 0),
    ];
    // A tensor whose gradient is all but zero, such as a key's bias, is rounding.
    const weighty = all.filter((own) => own.size > 1e-10 * size);
    const worst = weighty.sort((one, other) => other.error - one.error)[0];
    return {
      error: Math.sqrt(difference / size),
      worst: { tensor: worst?.tensor ?? '', error: worst?.error ?? 0 },
      compared: all.length,
      size: Math.sqrt(size),
    };
  }
}
