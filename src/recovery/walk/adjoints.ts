import type { LocalLayers } from './local-layers.js';
import { isRectifier } from './rectifiers.js';

/**
 * dL/d of every node, computed from the head down as far as the slopes of rectifiers are known, and from wherever else
 * a delta was found. What depends on a slope is forgotten when that is corrected.
 */
export class Adjoints {
  /** Deltas that were not computed by backpropagation: the head's, and those that a weight gradient gave. */
  private readonly fixed = new Map<number, Float64Array>();
  /** Slope of each entry of a rectifier's output. */
  private readonly slopes = new Map<number, Float64Array>();
  /** For max poolings: which entry of its channel each output is; -1 where nothing comes down. */
  private readonly maxima = new Map<number, Int32Array>();
  private readonly memo = new Map<number, Float64Array>();

  constructor(
    private readonly layers: LocalLayers,
    public batch: number,
    /** What is known of a node's values, for layers whose backward pass depends on them. */
    private readonly valuesAt: (node: number) => Float64Array | undefined,
  ) {}

  fix(node: number, delta: Float64Array): void {
    this.fixed.set(node, delta);
    this.forgetBelow(node);
  }

  isFixed(node: number): boolean {
    return this.fixed.has(node);
  }

  slopeOf(rectifier: number): Float64Array | undefined {
    return this.slopes.get(rectifier);
  }

  setSlopes(rectifier: number, slopes: Float64Array): void {
    this.slopes.set(rectifier, slopes);
    this.forgetBelow(rectifier);
  }

  maximaOf(pool: number): Int32Array | undefined {
    return this.maxima.get(pool);
  }

  setMaxima(pool: number, winners: Int32Array): void {
    this.maxima.set(pool, winners);
    this.forgetBelow(pool);
  }

  /** Maxima that turned out wrong, and the slopes of the rectifier that followed from them. */
  forgetMaxima(pool: number, rectifier: number | undefined): void {
    this.maxima.delete(pool);
    if (rectifier !== undefined) {
      this.slopes.delete(rectifier);
    }
    this.forgetBelow(pool);
  }

  forgetAll(): void {
    this.memo.clear();
  }

  private forgetBelow(node: number): void {
    for (const known of this.memo.keys()) {
      if (known < node) {
        this.memo.delete(known);
      }
    }
  }

  /** batch x the node's size; undefined where a slope above it is not known. */
  async of(node: number): Promise<Float64Array | undefined> {
    const found =
      this.fixed.get(node) ?? this.memo.get(node) ?? (await this.sum(node, (layer, at) => this.pulled(layer, at)));
    if (found && !this.fixed.has(node)) {
      this.memo.set(node, found);
    }
    return found;
  }

  /** The same with rectifiers and maxima open where nothing is known of them: what a delta is where they let it pass. */
  async open(node: number): Promise<Float64Array | undefined> {
    return (
      (await this.of(node)) ??
      (await this.sum(node, async (layer, at) => (await this.pulled(layer, at)) ?? (await this.pulledOpen(layer, at))))
    );
  }

  private async sum(
    node: number,
    pulled: (layer: number, at: number) => Promise<Float64Array | undefined>,
  ): Promise<Float64Array | undefined> {
    const consumers = this.layers.consumers(node);
    let total: Float64Array | undefined;
    for (const { layer, at } of consumers) {
      const own = await pulled(layer, at);
      if (!own) {
        return undefined;
      }
      total = total ? total.map((value, entry) => value + own[entry]!) : own;
    }
    return total;
  }

  private async pulled(layer: number, at: number): Promise<Float64Array | undefined> {
    const { op } = this.layers.layer(layer);
    if (isRectifier(op)) {
      const slopes = this.slopes.get(layer);
      const upstream = slopes && (await this.of(layer));
      return upstream?.map((own, entry) => own * slopes![entry]!);
    }
    if (op === 'max-pool') {
      const winners = this.maxima.get(layer);
      const upstream = winners && (await this.of(layer));
      return upstream && this.scattered(layer, upstream, winners);
    }
    if (!LINEAR.has(op)) {
      return undefined;
    }
    if (op === 'batch-norm' && this.layers.problem.mode === 'train') {
      const values = this.valuesAt(this.layers.sources[layer]![at]!);
      const delta = values && (await this.of(layer));
      return delta && this.layers.pullAt(layer, at, delta, this.batch, [values]);
    }
    const upstream = await this.of(layer);
    return upstream && this.layers.pull(layer, at, upstream, this.batch);
  }

  private scattered(pool: number, upstream: Float64Array, winners: Int32Array): Float64Array {
    const [channels, height, width] = this.layers.shape(this.layers.sources[pool]![0]!) as [number, number, number];
    const out = new Float64Array(this.batch * channels * height * width);
    const windows = winners.length / (this.batch * channels);
    winners.forEach((position, at) => {
      if (position >= 0) {
        out[Math.floor(at / windows) * height * width + position]! += upstream[at]!;
      }
    });
    return out;
  }

  private async pulledOpen(layer: number, at: number): Promise<Float64Array | undefined> {
    const { op } = this.layers.layer(layer);
    if (isRectifier(op)) {
      return this.open(layer);
    }
    const passes = op === 'max-pool' || (ENTRYWISE.has(op) && this.layers.problem.mode === 'eval');
    const upstream = passes ? await this.open(layer) : undefined;
    return upstream && this.layers.pullOpen(layer, at, upstream, this.batch);
  }
}

/** Layers that hand every entry on by itself. */
const ENTRYWISE: ReadonlySet<string> = new Set([
  'batch-norm',
  'add',
  'concat',
  'identity',
  'dropout',
  'flatten',
  'reshape',
  'transpose',
]);

/** Layers whose backward pass does not depend on the values; batch normalisation in evaluation mode is one. */
const LINEAR: ReadonlySet<string> = new Set([
  ...ENTRYWISE,
  'conv',
  'linear',
  'pad',
  'global-average-pool',
  'average-pool',
  'adaptive-average-pool',
]);
