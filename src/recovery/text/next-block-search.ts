import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Pause } from '../pause.js';
import { type AdapterSpace, distancesThrough } from './adapter-space.js';
import { type AttentionValues, project } from './first-attention.js';
import { type Candidates, type FirstInputs, embeddedAt, inputsAt } from './first-inputs.js';
import { type AtPosition, PrefixAttention, placedAt, tokensAtOnce } from './prefix-attention.js';
import type { Distance } from './input-space.js';
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
  return forest.grow({ steps: isRotary ? limits.length : byPosition.length, levelAt, extend }, pause);
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
      ...placedAt(position, tokens.length, projected, this.attention),
      position,
      tokens,
      embedded: embeddedAt(this.first, tokens, position),
    };
  }

  /** Adds what continues a prefix. @returns the new nodes */
  async extend(parent: number, level: Level): Promise<number[]> {
    const { forest } = this;
    const before = forest.before(parent, level.position);
    const prefix = { keys: before.map((at) => this.keys[at]!), values: before.map((at) => this.values[at]!) };
    const found: number[] = [];
    const block = tokensAtOnce(this.attention, before.length);
    for (let from = 0; from < level.count; from += block) {
      const to = Math.min(level.count, from + block);
      const distances = await this.distances(level, { from, to }, prefix);
      distances.forEach((distance, index) => {
        const token = level.tokens[from + index]!;
        const node = forest.add(distance, { token, position: level.position, parent, isPadding: false });
        if (node !== undefined) {
          this.keys.push(level.keys[from + index]!);
          this.values.push(level.values[from + index]!);
          found.push(node);
        }
      });
    }
    return found;
  }

  private async distances(
    level: Level,
    { from, to }: { readonly from: number; readonly to: number },
    prefix: { readonly keys: readonly Float64Array[]; readonly values: readonly Float64Array[] },
  ): Promise<Distance[]> {
    const { product } = this;
    const attention = await PrefixAttention.of(this.attention, level, { from, to }, prefix, product);
    const tokens = Array.from({ length: to - from }, (_, index) => from + index);
    const weights = tokens.map((at) => attention.weights(at, false));
    const mixed = await attention.outputs(weights, tokens, product);
    const { space, width, inputsOf } = this.beyond;
    const embedded = level.embedded.slice(from * this.attention.width, to * this.attention.width);
    return distancesThrough(space, await inputsOf(embedded, mixed), width, product);
  }
}
