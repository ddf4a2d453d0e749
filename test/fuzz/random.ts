/** Numbers that follow from a seed and an execution's index alone, so that any execution can be made again by itself. */
export class Random {
  private state: number;

  constructor(seed: number, index: number) {
    this.state = mixed(mixed(seed) + index);
  }

  /** An unsigned integer of 32 bits (mulberry32). */
  bits(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return (bits ^ (bits >>> 14)) >>> 0;
  }

  /** A whole number from 0 to below `end`. */
  below(end: number): number {
    return Math.floor((this.bits() / 2 ** 32) * end);
  }

  chance(share: number): boolean {
    return this.bits() < share * 2 ** 32;
  }

  /** @throws RangeError when there is nothing to pick */
  pick<T>(items: readonly T[]): T {
    if (items.length === 0) {
      throw new RangeError('Nothing to pick from.');
    }
    return items[this.below(items.length)]!;
  }
}

function mixed(value: number): number {
  let bits = value >>> 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x21f0aaad);
  bits = Math.imul(bits ^ (bits >>> 15), 0x735a2d97);
  return (bits ^ (bits >>> 15)) >>> 0;
}
