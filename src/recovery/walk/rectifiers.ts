import { NETWORK_INPUT } from '../../network/layer-graph.js';
import type { LayerOp } from '../../network/layers/recipe.js';
import type { LocalLayers } from './local-layers.js';

/** Where a network's rectifiers stand, as seen from other nodes. */

/** Layers that hand each entry to one entry of their output, unchanged or added to others. */
const PASSING: ReadonlySet<LayerOp> = new Set<LayerOp>(['identity', 'dropout', 'add']);
/** Layers that only give values another shape. */
const SHAPING: ReadonlySet<LayerOp> = new Set<LayerOp>(['identity', 'dropout', 'flatten', 'reshape']);
/** Layers whose output is zero where all that went in is, and never below. */
const ZERO_KEEPING: ReadonlySet<LayerOp> = new Set<LayerOp>([
  ...SHAPING,
  'max-pool',
  'average-pool',
  'adaptive-average-pool',
  'global-average-pool',
  'concat',
  'pad',
  'transpose',
]);

export function isRectifier(op: LayerOp): boolean {
  return op === 'relu' || op === 'leaky-relu';
}

export class Rectifiers {
  constructor(private readonly layers: LocalLayers) {}

  /** Slope below zero. */
  lowSlope(rectifier: number): number {
    const layer = this.layers.layer(rectifier);
    return layer.op === 'leaky-relu' ? (layer.slope ?? 0.01) : 0;
  }

  /** Whether a node's zeros are those of rectifiers, and no value is below. */
  isRectified(node: number): boolean {
    if (node === NETWORK_INPUT) {
      return false;
    }
    const { op } = this.layers.layer(node);
    return (
      op === 'relu' || (ZERO_KEEPING.has(op) && this.layers.sources[node]!.every((source) => this.isRectified(source)))
    );
  }

  /** The rectifier that a node's values come from, entry by entry. */
  below(node: number): number | undefined {
    let from = node;
    while (from !== NETWORK_INPUT && SHAPING.has(this.layers.layer(from).op)) {
      from = this.layers.sources[from]![0]!;
    }
    return from !== NETWORK_INPUT && isRectifier(this.layers.layer(from).op) ? from : undefined;
  }

  /** The rectifier that a layer's output goes to, channel by channel: through normalisation and sums only. */
  above(layer: number): number | undefined {
    return this.pathUp(layer).find((own) => isRectifier(this.layers.layer(own).op));
  }

  /** The rectifier above the sum that a layer's output is a part of. */
  aboveSum(layer: number): number | undefined {
    const [sum, ...more] = this.layers.consumers(layer);
    const next = sum && more.length === 0 && this.layers.layer(sum.layer).op === 'add' ? sum.layer : undefined;
    const above = next === undefined ? undefined : this.pathUp(next)[0];
    return above !== undefined && isRectifier(this.layers.layer(above).op) ? above : undefined;
  }

  /** Nodes that hold a node's entries as they are, or rectified. */
  sameAbove(from: number): number[] {
    const found: number[] = [];
    let node = from;
    for (;;) {
      const consumers = this.layers.consumers(node);
      const next = consumers.length === 1 ? consumers[0]!.layer : undefined;
      const op = next === undefined ? undefined : this.layers.layer(next).op;
      if (next === undefined || op === undefined || !(SHAPING.has(op) || isRectifier(op))) {
        return found;
      }
      found.push(next);
      node = next;
    }
  }

  /** What takes a layer's output and nothing else does, up to the first rectifier or layer that does not hand entries on. */
  pathUp(from: number): number[] {
    const path: number[] = [];
    let node = from;
    for (;;) {
      const consumers = this.layers.consumers(node);
      const next = consumers.length === 1 ? consumers[0]!.layer : undefined;
      if (next === undefined) {
        return path;
      }
      const { op } = this.layers.layer(next);
      const isNorm = op === 'batch-norm' && this.layers.problem.mode === 'eval';
      if (!isNorm && !isRectifier(op) && !PASSING.has(op)) {
        return path;
      }
      path.push(next);
      if (isRectifier(op)) {
        return path;
      }
      node = next;
    }
  }
}
