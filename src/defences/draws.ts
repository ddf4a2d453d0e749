import { gaussian } from '../recovery/gaussian.js';
import { generator } from '../recovery/paper-method.js';

/** Random numbers that depend on a tensor's name and the draw alone, so that every level of a defence has the same ones. */

/** Numbers that are kept for the next level; what is more is drawn again. */
const MOST_KEPT = 2 ** 25;

export class Draws {
  private readonly kept = new Map<string, Float32Array>();
  private size = 0;

  /** @param distribution a draw from uniform numbers in [0, 1) */
  constructor(
    private readonly id: string,
    private readonly distribution: (random: () => number) => number,
  ) {}

  /** As many numbers as asked for, in the order of the tensor's own. */
  of(name: string, length: number, draw: number): Float32Array {
    const key = `${this.id}/${draw}/${name}`;
    const known = this.kept.get(key);
    if (known?.length === length) {
      return known;
    }
    const random = generator(seedOf(key));
    const drawn = new Float32Array(length);
    for (let at = 0; at < length; at++) {
      drawn[at] = this.distribution(random);
    }
    if (this.size + length <= MOST_KEPT) {
      this.kept.set(key, drawn);
      this.size += length;
    }
    return drawn;
  }
}

/** N(0, 1). */
export function normalDraws(): Draws {
  return new Draws('normal', (random) => gaussian(random));
}

/** [0, 1). */
export function uniformDraws(): Draws {
  return new Draws('uniform', (random) => random());
}

/** FNV-1a of the UTF-16 code units. */
function seedOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  }
  return hash >>> 0;
}
