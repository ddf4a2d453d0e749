import type { ProductKernel } from '../../graph/product-kernel.js';
import { windowEntries } from '../../network/layers/pooling.js';
import type { ConvPlace } from './conv-place.js';
import { deltaOf } from './deltas.js';
import { type FoundNodes, scaledChannels } from './found-nodes.js';
import { isRectifier } from './rectifiers.js';
import type { PooledConv } from './window-maxima.js';

/** Max poolings above convolutions: what is known of their windows, and the corrections that an input found shows. */
export class PooledMaxima {
  constructor(
    private readonly found: FoundNodes,
    private readonly product: ProductKernel,
  ) {}

  /** The max pooling that a convolution's output goes to, and the layers on the way; undefined for another one. */
  above(place: ConvPlace): { pool: number; path: readonly number[] } | undefined {
    const { layers, rectifiers } = this.found;
    const path = rectifiers.pathUp(place.index);
    const consumers = layers.consumers(path[path.length - 1] ?? place.index);
    const pool = consumers.length === 1 ? consumers[0]!.layer : undefined;
    const isPlain = path.every((layer) => layers.sources[layer]!.length === 1);
    return pool !== undefined && layers.layer(pool).op === 'max-pool' && isPlain ? { pool, path } : undefined;
  }

  /** @returns undefined where what comes down to the windows, or their values, are not known */
  async problem(place: ConvPlace, rectified: boolean): Promise<PooledConv | undefined> {
    const { layers, adjoints } = this.found;
    const about = this.above(place);
    const values = about && this.valuesOf(about.pool);
    const upstream = values && (await adjoints.of(about.pool));
    if (!about || !values || !upstream) {
      return undefined;
    }
    const { batch } = adjoints;
    const rectifier = about.path.find((layer) => isRectifier(layers.layer(layer).op));
    const slope = rectifier === undefined ? 1 : this.found.rectifiers.lowSlope(rectifier);
    let delta: Float64Array = upstream.map((own, at) => (values[at]! > 0 ? own : own * slope));
    for (const layer of about.path) {
      const scale = layers.channelScale(layer);
      delta = scale ? scaledChannels(delta, scale, batch) : delta;
    }
    const { candidates, perWindow } = this.windowsOf(about.pool, place);
    return {
      place,
      batch,
      candidates,
      perWindow,
      delta,
      largest: rectifier !== undefined && slope > 0 ? values.map((own) => (own < 0 ? own / slope : own)) : values,
      forward: async (input) => {
        let seen = await layers.forward(place.index, [input], batch);
        for (const layer of about.path.filter((own) => own !== rectifier)) {
          seen = await layers.forward(layer, [seen], batch);
        }
        return seen;
      },
      rectified,
    };
  }

  /** Notes the largest entries, and that the rectifier on the way let pass those that are positive. */
  settle(place: ConvPlace, winners: Int32Array): void {
    const { layers, adjoints, rectifiers } = this.found;
    const { pool, path } = this.above(place)!;
    const rectifier = path.find((layer) => isRectifier(layers.layer(layer).op));
    if (rectifier !== undefined) {
      const values = this.valuesOf(pool)!;
      const low = rectifiers.lowSlope(rectifier);
      const plane = place.output[0] * place.output[1];
      const windows = winners.length / (adjoints.batch * place.filters);
      const slopes = new Float64Array(adjoints.batch * place.filters * plane).fill(low);
      winners.forEach((position, at) => {
        if (position >= 0 && values[at]! > 0) {
          slopes[Math.floor(at / windows) * plane + position] = 1;
        }
      });
      adjoints.setSlopes(rectifier, slopes);
    }
    adjoints.setMaxima(pool, winners);
  }

  forget(place: ConvPlace): void {
    const { pool, path } = this.above(place)!;
    const rectifier = path.find((layer) => isRectifier(this.found.layers.layer(layer).op));
    this.found.adjoints.forgetMaxima(pool, rectifier);
  }

  /**
   * Chooses the largest entries anew where an output channel contradicts the others, by its own gradient and the
   * input found.
   *
   * @returns how many changed; undefined where no maximum above was told
   */
  async repair(place: ConvPlace, values: Float64Array, wanted: readonly number[]): Promise<number | undefined> {
    const { adjoints } = this.found;
    const about = this.above(place);
    const winners = about && adjoints.maximaOf(about.pool);
    const problem = winners && (await this.problem(place, false));
    if (!winners || !problem) {
      return undefined;
    }
    const delta = await deltaOf(place, values, adjoints.batch, this.product, wanted);
    if (typeof delta === 'string') {
      return 0;
    }
    const { candidates, perWindow } = problem;
    const windows = candidates.length / perWindow;
    const plane = place.output[0] * place.output[1];
    const isWanted = new Set(wanted);
    const next = winners.slice();
    let changed = 0;
    winners.forEach((position, at) => {
      const channel = Math.floor(at / windows);
      if (position < 0 || !isWanted.has(channel % place.filters)) {
        return;
      }
      let most = -Infinity;
      for (let which = (at % windows) * perWindow; which < ((at % windows) + 1) * perWindow; which++) {
        const share =
          candidates[which]! < 0 ? -Infinity : delta[channel * plane + candidates[which]!]! / problem.delta[at]!;
        if (share > most) {
          most = share;
          next[at] = candidates[which]!;
        }
      }
      changed += Number(next[at] !== position);
    });
    if (changed > 0) {
      this.settle(place, next);
    }
    return changed;
  }

  /** A node's values, also where only what takes its entries as they are has been found. */
  private valuesOf(node: number): Float64Array | undefined {
    const known = [node, ...this.found.rectifiers.sameAbove(node)].find((own) => this.found.values.has(own));
    return known === undefined ? undefined : this.found.values.get(known);
  }

  private windowsOf(pool: number, place: ConvPlace): { candidates: Int32Array; perWindow: number } {
    const layer = this.found.layers.layer(pool);
    if (layer.op !== 'max-pool') {
      throw new RangeError(`layer ${pool} is no max pooling`);
    }
    const { entries, perWindow } = windowEntries(layer, place.output);
    return { candidates: entries, perWindow };
  }
}
