import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Pause } from '../pause.js';
import { type AdapterSpace, distancesThrough } from './adapter-space.js';
import {
  type AttentionValues,
  type AtPosition,
  attended,
  attentionWeights,
  project,
  placedAt,
} from './first-attention.js';
import { type Candidates, type FirstInputs, embeddedAt, inputsAt } from './first-inputs.js';
import { type Limits, PrefixForest, type Prefixes } from './prefix-forest.js';

/**
 * Sequences of a causal model, token by token, where the first attention's own output is not known: what follows it for a
 * prefix, such as the inputs of the second block, has to lie in the batch's space (DAGER, Petrov et al., NeurIPS 2024).
 */

/** What is compared, of tokens at the ends of prefixes. */
export interface Beyond {
  readonly space: AdapterSpace;
  readonly width: number;
  /**
   * @param embedded n x the model's width
   * @param mixed n x (heads x headWidth): what the first output projection is given
   * @returns n x width
   */
  readonly inputsOf: (embedded: Float64Array, mixed: Float64Array) => Promise<Float64Array>;
}

/** The same as `searchPrefixes`, by other vectors. */
export async function searchByNextBlock(
  first: FirstInputs,
  attention: AttentionValues,
  beyond: Beyond,
  { byPosition }: Pick<Candidates, 'byPosition'>,
  limits: Limits,
  product: ProductKernel,
  pause: Pause,
): Promise<Prefixes> {
  const isRotary = attention.rotary !== null;
  const forest = new PrefixForest(isRotary, limits);
  const search = new Search(first, attention, beyond, forest, product);
  const levelAt = async (position: number): Promise<Level | undefined> => {
    const tokens = byPosition[isRotary ? 0 : position]!;
    return tokens.length > 0 ? search.level(tokens, position) : undefined;
  };
  const extend = (parent: number, level: Level): Promise<number[]> => search.extend(parent, level);
  return forest.grow(isRotary ? limits.length : byPosition.length, levelAt, extend, pause);
}

/** The tokens that may stand at one position. */
interface Level extends AtPosition {
  readonly position: number;
  readonly tokens: readonly number[];
  readonly embedded: Float64Array;
}

class Search {
  private readonly keys: Float64Array[] = [];
  private readonly values: Float64Array[] = [];

  constructor(
    private readonly first: FirstInputs,
    private readonly attention: AttentionValues,
    private readonly beyond: Beyond,
    private readonly forest: PrefixForest,
    private readonly product: ProductKernel,
  ) {}

  async level(tokens: readonly number[], position: number): Promise<Level> {
    const projected = await project(this.attention, inputsAt(this.first, tokens, position), this.product);
    return {
      position,
      tokens,
      embedded: embeddedAt(this.first, tokens, position),
      ...placedAt(position, tokens.length, projected, this.attention),
    };
  }

  /** Adds what continues a prefix. @returns the new nodes */
  async extend(parent: number, level: Level): Promise<number[]> {
    const { heads, headWidth } = this.attention;
    const before = this.forest.before(parent, level.position);
    const [keys, values] = [this.keys, this.values].map((all) => before.map((at) => all[at]!)) as [
      Float64Array[],
      Float64Array[],
    ];
    const mixed = new Float64Array(level.tokens.length * heads * headWidth);
    for (let at = 0; at < level.tokens.length; at++) {
      const weights = attentionWeights(this.attention, level.queries[at]!, [...keys, level.keys[at]!]);
      mixed.set(attended(this.attention, weights, [...values, level.values[at]!]), at * heads * headWidth);
    }
    const { space, width, inputsOf } = this.beyond;
    const distances = await distancesThrough(space, await inputsOf(level.embedded, mixed), width, this.product);
    return distances.flatMap((distance, at): number[] => {
      const token = level.tokens[at]!;
      const node = this.forest.add(distance, { token, position: level.position, parent, isPadding: false });
      if (node === undefined) {
        return [];
      }
      this.keys.push(level.keys[at]!);
      this.values.push(level.values[at]!);
      return [node];
    });
  }
}
