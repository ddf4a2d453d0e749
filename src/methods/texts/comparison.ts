/** How far simulated gradients are from the captured ones, tensor by tensor. */

export interface Difference {
  /** Relative, over all tensors compared. */
  readonly error: number;
  readonly worst: { readonly tensor: string; readonly error: number };
  readonly compared: number;
  /** Length of the captured gradient, of all tensors compared. */
  readonly size: number;
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
