import type { ConvPlace } from './conv-place.js';
import { Adjoints } from './adjoints.js';
import { type Deviation, doubtsOf } from './deviations.js';
import type { LocalLayers } from './local-layers.js';
import { Rectifiers, isRectifier } from './rectifiers.js';
import type { ExactMap, WalkStep } from './walk-state.js';

/** What the walk has found so far: values at nodes, slopes of rectifiers, and what follows from both. */

/** Layers whose output grows with their input. */
const SIZE_KEEPING: ReadonlySet<string> = new Set([
  'conv',
  'relu',
  'leaky-relu',
  'identity',
  'dropout',
  'max-pool',
  'average-pool',
  'adaptive-average-pool',
  'global-average-pool',
  'flatten',
  'reshape',
  'pad',
]);

export class FoundNodes {
  readonly rectifiers: Rectifiers;
  readonly adjoints: Adjoints;
  readonly maps: ExactMap[] = [];
  readonly steps: WalkStep[] = [];
  /** Also of nodes that follow from others, which are no maps that were found. */
  readonly values = new Map<number, Float64Array>();
  /** For rectifiers, 1 where a value found is too near to zero for its slope to be certain. */
  readonly doubts = new Map<number, Uint8Array>();
  /** Nodes whose values are known up to a factor. */
  readonly sizeless = new Set<number>();

  private known: number | undefined;

  constructor(readonly layers: LocalLayers) {
    this.rectifiers = new Rectifiers(layers);
    this.adjoints = new Adjoints(layers, 1, (node) => this.values.get(node));
  }

  /** Number of samples; undefined before the head or a row space has told it. */
  get batch(): number | undefined {
    return this.known;
  }

  set batch(count: number | undefined) {
    this.known = count;
    this.adjoints.batch = count ?? 1;
  }

  convsAbove(node: number): ConvPlace[] {
    return this.layers.consumers(node).flatMap(({ layer }) => this.layers.conv(layer) ?? []);
  }

  /** The batch normalisation in train mode that takes a convolution's output. */
  trainNormAbove(place: ConvPlace): number | undefined {
    const consumers = this.layers.consumers(place.index);
    const next = consumers.length === 1 ? consumers[0]!.layer : undefined;
    return next !== undefined && this.layers.problem.mode === 'train' && this.layers.layer(next).op === 'batch-norm'
      ? next
      : undefined;
  }

  /**
   * Notes the values at a node, and the slopes of the rectifier that they come from.
   *
   * @param error expected, relative
   */
  keep(node: number, values: Float64Array, error: number, upToFactor = false, unknown?: Uint8Array): void {
    if (!unknown && !upToFactor) {
      this.values.set(node, values);
    }
    this.maps.push({
      node,
      shape: this.layers.shape(node),
      values,
      rectified: this.rectifiers.isRectified(node),
      error,
      upToFactor,
      unknown,
    });
    const rectifier = this.rectifiers.below(node);
    if (rectifier !== undefined) {
      const low = this.rectifiers.lowSlope(rectifier);
      this.adjoints.setSlopes(
        rectifier,
        // A constant stays open where no zeros tell it: then nothing is cut there.
        values.map((own, at) => (own > 0 || unknown?.[at] === 1 ? 1 : low)),
      );
    }
  }

  /** @param open 1 where a value is not known at all */
  doubt(node: number, values: Float64Array, deviation: Deviation, open?: Uint8Array): void {
    const rectifier = this.rectifiers.below(node);
    if (rectifier !== undefined) {
      const doubts = doubtsOf(values, deviation);
      this.doubts.set(rectifier, open ? doubts.map((own, at) => Math.max(own, open[at]!)) : doubts);
    }
  }

  /**
   * Output channels of a layer that go through a doubtful entry of the rectifier above.
   *
   * @param from the layer, or its normalisation in train mode
   */
  doubtfulChannels(place: ConvPlace, from = place.index): Set<number> {
    const rectifier = this.rectifiers.above(from);
    const doubts = rectifier === undefined ? undefined : this.doubts.get(rectifier);
    const found = new Set<number>();
    const plane = place.output[0] * place.output[1];
    doubts?.forEach((own, at) => {
      if (own === 1) {
        found.add(Math.floor(at / plane) % place.filters);
      }
    });
    return found;
  }

  /** dL/d(convolution's output) as if the rectifier above it let everything pass. */
  async openBelow(rectifier: number, conv: number): Promise<Float64Array | undefined> {
    let delta = await this.adjoints.of(rectifier);
    const path = this.rectifiers.pathUp(conv);
    const { batch } = this.adjoints;
    for (const layer of path.slice(0, path.indexOf(rectifier)).reverse()) {
      const scale = this.layers.channelScale(layer);
      delta = delta && scale ? scaledChannels(delta, scale, batch) : delta;
    }
    return delta;
  }

  async resize(at: number, factor: number): Promise<void> {
    const map = this.maps[at]!;
    const values = map.values.map((own) => own * factor);
    this.maps[at] = { ...map, values };
    this.values.set(map.node, values);
    await this.fillAbove(map.node);
  }

  /** Computes forward what follows from a node's values, where their size does not matter or is known. */
  async fillAbove(node: number): Promise<void> {
    const map = this.maps.find((own) => own.node === node)!;
    this.values.set(node, map.values);
    if (map.upToFactor) {
      this.sizeless.add(node);
    }
    const fresh = new Set([node]);
    const isPrecise = this.steps.some((step) => step.node === node && step.by === 'row space');
    for (const layer of [...this.layers.nodes()].reverse()) {
      const sources = layer > node ? this.layers.sources[layer]! : [];
      const inputs = sources.map((source) => this.values.get(source));
      const isKnown = !isPrecise && this.values.has(layer) && !this.sizeless.has(layer);
      if (isKnown || !sources.some((source) => fresh.has(source)) || inputs.some((own) => own === undefined)) {
        continue;
      }
      const { op } = this.layers.layer(layer);
      const isNorm = op === 'batch-norm' && this.layers.problem.mode === 'train';
      if (sources.some((source) => this.sizeless.has(source)) && !isNorm) {
        if (!SIZE_KEEPING.has(op)) {
          continue;
        }
        this.sizeless.add(layer);
      } else {
        this.sizeless.delete(layer);
      }
      const own = await this.layers.forward(
        layer,
        inputs.map((input) => input!),
        this.adjoints.batch,
      );
      fresh.add(layer);
      this.values.set(layer, own);
      const isFound = this.maps.some((other) => !other.unknown && this.rectifiers.below(other.node) === layer);
      if (isRectifier(op) && !isFound) {
        const low = this.rectifiers.lowSlope(layer);
        this.adjoints.setSlopes(
          layer,
          own.map((value) => (value > 0 ? 1 : low)),
        );
      }
    }
    this.adjoints.forgetAll();
  }
}

/** The slope that a rectifier had, from a delta and what it would be if everything passed. */
export function slopeBetween(delta: number, open: number, low: number): number {
  return delta / open > (1 + low) / 2 ? 1 : low;
}

/** Each channel of every sample times its own factor. */
export function scaledChannels(values: Float64Array, factors: Float64Array, batch: number): Float64Array {
  const plane = values.length / (batch * factors.length);
  return values.map((own, at) => own * factors[Math.floor(at / plane) % factors.length]!);
}
