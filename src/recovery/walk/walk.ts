import type { ProductKernel } from '../../graph/product-kernel.js';
import { type Pause, isStop } from '../pause.js';
import { norm } from '../vectors.js';
import { Adjoints } from './adjoints.js';
import type { ConvPlace } from './conv-place.js';
import { deltaOf } from './deltas.js';
import { type Deviation, cleaned, doubtsOf, negativeDeviations, relativeError } from './deviations.js';
import { type KnownDelta, solveInput } from './equations.js';
import { LocalLayers } from './local-layers.js';
import { Rectifiers, isRectifier } from './rectifiers.js';
import { rowSpaceMap } from './row-space-map.js';
import type { ExactMap, WalkProblem, WalkProgress, WalkResult, WalkStep } from './walk-state.js';

/**
 * Down a network of rectifiers, node by node: where the deltas of what takes a node's output are known, that output is
 * the solution of linear equations; where they are not, a convolution's row space gives input and delta at once. Zeros
 * of the values found are the masks that the next deltas go through.
 */

/** Repairing masks changes the equations that the repair came from. */
const MOST_REPAIRS = 4;
/** Equations that leave more than this are no foundation. */
const MOST_RESIDUAL = 1e-4;

/**
 * @param product lets other work run, and throws CancelledError once the user has asked to stop
 * @param pause before each node that is solved, and on the way through row spaces
 * @throws RangeError when a layer's tensors do not fit, RecipeError when the recipe refers to a layer that is not there
 */
export async function walkDown(
  problem: WalkProblem,
  product: ProductKernel,
  random: () => number,
  pause: Pause<WalkProgress>,
): Promise<WalkResult> {
  const walk = new Walk(problem, product, random, pause);
  let stopped = false;
  try {
    await walk.run();
  } catch (error) {
    if (!isStop(error)) {
      throw error;
    }
    stopped = true;
  }
  const maps = [...walk.maps].sort((one, other) => one.node - other.node);
  return { batch: walk.adjoints.batch, maps, steps: walk.steps, ended: walk.ended, stopped };
}

class Walk {
  readonly layers: LocalLayers;
  readonly rectifiers: Rectifiers;
  readonly adjoints: Adjoints;
  readonly maps: ExactMap[] = [];
  readonly steps: WalkStep[] = [];
  readonly ended: { node: number; reason: string }[] = [];
  private readonly values = new Map<number, Float64Array>();
  /** For rectifiers, 1 where a value found is too near to zero for its slope to be certain. */
  private readonly doubts = new Map<number, Uint8Array>();
  private isBatchKnown = false;

  constructor(
    private readonly problem: WalkProblem,
    private readonly product: ProductKernel,
    private readonly random: () => number,
    private readonly pause: Pause<WalkProgress>,
  ) {
    this.layers = new LocalLayers(problem, product);
    this.rectifiers = new Rectifiers(this.layers);
    this.adjoints = new Adjoints(this.layers, 1);
    const { solution, head } = problem;
    if (solution) {
      this.isBatchKnown = true;
      this.adjoints.batch = solution.batch;
      this.adjoints.fix(head, solution.delta);
      const below = this.layers.sources[head]![0]!;
      const deviation = negativeDeviations(solution.features, solution.batch);
      this.keep(
        below,
        this.rectifiers.isRectified(below) ? cleaned(solution.features, deviation) : solution.features,
        problem.error,
      );
    }
  }

  async run(): Promise<void> {
    const nodes = this.layers.nodes().filter((node) => this.convsAbove(node).length > 0);
    for (const [done, node] of nodes.entries()) {
      if (this.values.has(node)) {
        continue;
      }
      const progress = {
        layer: this.layers.name(node),
        done,
        of: nodes.length,
        latest: this.maps[this.maps.length - 1],
      };
      await this.pause(progress);
      const reason = await this.solve(node, () => this.pause(progress));
      if (reason !== undefined) {
        this.ended.push({ node, reason });
      }
    }
  }

  private convsAbove(node: number): ConvPlace[] {
    return this.layers.consumers(node).flatMap(({ layer }) => this.layers.conv(layer) ?? []);
  }

  private async solve(node: number, pause: Pause): Promise<string | undefined> {
    const reasons: string[] = [];
    const solved = await this.solveByEquations(node);
    if (solved === undefined) {
      return undefined;
    }
    reasons.push(solved);
    for (const place of this.convsAbove(node)) {
      const found = await this.solveByRowSpace(node, place, pause);
      if (found === undefined) {
        return undefined;
      }
      reasons.push(`${place.name}: ${found}`);
    }
    return reasons.join('; ');
  }

  private async solveByEquations(node: number): Promise<string | undefined> {
    let repaired = 0;
    for (let round = 0; ; round++) {
      const known: KnownDelta[] = [];
      for (const place of this.convsAbove(node)) {
        const delta = await this.adjoints.of(place.index);
        if (delta) {
          known.push({ place, delta, doubtful: this.doubtfulChannels(place) });
        }
      }
      if (known.length === 0) {
        return 'the deltas above are not known';
      }
      const solved = await solveInput(known, this.adjoints.batch, this.problem.error, this.product);
      if (typeof solved === 'string') {
        return solved;
      }
      const rectified = this.rectifiers.isRectified(node);
      const deviation: Deviation = (at) => solved.error[at]!;
      const values = rectified ? cleaned(solved.values, deviation) : solved.values;
      const isTrusted = solved.residual <= Math.max(MOST_RESIDUAL, 10 * this.problem.error);
      const changed =
        isTrusted && round < MOST_REPAIRS
          ? await this.repairMasks(
              known.map(({ place }) => place),
              values,
              solved.outlying,
            )
          : 0;
      if (changed > 0) {
        repaired += changed;
        continue;
      }
      if (!isTrusted) {
        return `${(100 * solved.residual).toPrecision(2)} % of the gradients are left unexplained`;
      }
      this.keep(node, values, norm(solved.error) / norm(solved.values));
      if (rectified) {
        this.doubt(node, solved.values, deviation);
      }
      this.steps.push({
        node,
        layers: known.map(({ place }) => place.name),
        by: 'equations',
        unknowns: solved.unknowns,
        equations: solved.equations,
        condition: solved.condition,
        residual: solved.residual,
        outlying: solved.outlying.reduce((sum, own) => sum + own.length, 0),
        repaired,
        gap: null,
      });
      return undefined;
    }
  }

  /** Channels that contradict the others had a wrong mask; with the input found, their own gradient tells the right one. */
  private async repairMasks(
    places: readonly ConvPlace[],
    values: Float64Array,
    outlying: readonly (readonly number[])[],
  ): Promise<number> {
    let changed = 0;
    for (const [at, place] of places.entries()) {
      const wanted = outlying[at]!;
      const rectifier = wanted.length > 0 ? this.rectifiers.above(place.index) : undefined;
      const slopes = rectifier !== undefined ? this.adjoints.slopeOf(rectifier) : undefined;
      if (rectifier === undefined || !slopes) {
        continue;
      }
      const full = await this.openBelow(rectifier, place.index);
      const delta = full && (await deltaOf(place, values, this.adjoints.batch, this.product, wanted));
      if (!full || !delta || typeof delta === 'string') {
        continue;
      }
      const { batch } = this.adjoints;
      const plane = place.output[0] * place.output[1];
      const low = this.rectifiers.lowSlope(rectifier);
      const next = slopes.slice();
      for (let b = 0; b < batch; b++) {
        for (const o of wanted) {
          const first = (b * place.filters + o) * plane;
          this.doubts.get(rectifier)?.fill(0, first, first + plane);
          for (let entry = first; entry < first + plane; entry++) {
            if (full[entry] !== 0) {
              next[entry] = slopeBetween(delta[entry]!, full[entry]!, low);
              changed += Number(next[entry] !== slopes[entry]);
            }
          }
        }
      }
      if (changed > 0) {
        this.adjoints.setSlopes(rectifier, next);
      }
    }
    return changed;
  }

  /** dL/d(convolution's output) as if the rectifier above it let everything pass. */
  private async openBelow(rectifier: number, conv: number): Promise<Float64Array | undefined> {
    let delta = await this.adjoints.of(rectifier);
    const path = this.rectifiers.pathUp(conv);
    const { batch } = this.adjoints;
    for (const layer of path.slice(0, path.indexOf(rectifier)).reverse()) {
      const scale = this.layers.channelScale(layer);
      delta = delta && scale ? scaledChannels(delta, scale, batch) : delta;
    }
    return delta;
  }

  private async solveByRowSpace(node: number, place: ConvPlace, pause: Pause): Promise<string | undefined> {
    if (place.kernel[0] * place.kernel[1] === 1) {
      return 'patches of one pixel do not overlap';
    }
    const sums = this.biasSums(place);
    if (!sums) {
      return 'no bias gradient tells the scale of its map';
    }
    const rectified = this.rectifiers.isRectified(node);
    const found = await rowSpaceMap(
      place,
      sums,
      this.isBatchKnown ? await this.adjoints.open(place.index) : undefined,
      rectified,
      this.problem.error,
      this.product,
      this.random,
      pause,
    );
    if (typeof found === 'string') {
      return found;
    }
    if (this.isBatchKnown && found.batch !== this.adjoints.batch) {
      return `its row space is that of ${found.batch} samples, not ${this.adjoints.batch}`;
    }
    this.adjoints.batch = found.batch;
    this.isBatchKnown = true;
    const deviation = negativeDeviations(found.values, found.batch);
    this.keep(
      node,
      rectified ? cleaned(found.values, deviation) : found.values,
      rectified ? relativeError(found.values, deviation) : found.residual,
    );
    if (rectified) {
      this.doubt(node, found.values, deviation);
    }
    this.adjoints.fix(place.index, found.delta);
    await this.lift(place.index);
    this.steps.push({
      node,
      layers: [place.name],
      by: 'row space',
      unknowns: found.unknowns,
      equations: found.equations,
      condition: null,
      residual: found.residual,
      outlying: 0,
      repaired: 0,
      gap: found.gap,
    });
    return undefined;
  }

  /** dL/dbias that a convolution's output would have: the sum of its delta over samples and positions. */
  private biasSums(place: ConvPlace): Float64Array | undefined {
    const own = this.layers.biasGradient(place.index);
    if (own) {
      return own;
    }
    for (const layer of this.rectifiers.pathUp(place.index)) {
      const scale = this.layers.channelScale(layer);
      if (scale) {
        return this.layers.biasGradient(layer)?.map((sum, o) => sum * scale[o]!);
      }
      if (this.layers.layer(layer).op !== 'identity') {
        return undefined;
      }
    }
    return undefined;
  }

  /**
   * From a convolution's delta up to what else it goes to: to the slopes of the rectifier above where the delta over
   * it is known, else to the sum that a shortcut leads to; across convolutions of one pixel by their own gradients.
   */
  private async lift(from: number): Promise<void> {
    const { batch } = this.adjoints;
    let conv = from;
    for (;;) {
      const path = this.rectifiers.pathUp(conv);
      const last = path[path.length - 1];
      const rectifier = last !== undefined && isRectifier(this.layers.layer(last).op) ? last : undefined;
      const open = rectifier === undefined ? undefined : await this.openBelow(rectifier, conv);
      const delta = (await this.adjoints.of(conv))!;
      if (rectifier !== undefined && open) {
        const low = this.rectifiers.lowSlope(rectifier);
        this.adjoints.setSlopes(
          rectifier,
          open.map((full, at) => (full === 0 ? low : slopeBetween(delta[at]!, full, low))),
        );
        return;
      }
      let above = delta;
      for (const layer of path) {
        const scale = this.layers.channelScale(layer);
        if (scale) {
          const largest = Math.max(...scale.map(Math.abs));
          if (scale.some((own) => Math.abs(own) < 1e-6 * largest)) {
            return;
          }
          above = scaledChannels(
            above,
            scale.map((own) => 1 / own),
            batch,
          );
        }
        if (layer !== rectifier) {
          this.adjoints.fix(layer, above);
        }
      }
      const next = rectifier === undefined ? undefined : await this.convAcross(conv, rectifier);
      if (next === undefined) {
        return;
      }
      conv = next;
    }
  }

  /**
   * Past a rectifier whose input is known: the next convolution's delta from its own gradient.
   *
   * @returns that convolution, undefined when there is none
   */
  private async convAcross(conv: number, rectifier: number): Promise<number | undefined> {
    const { batch } = this.adjoints;
    for (const layer of [conv, ...this.rectifiers.pathUp(conv)]) {
      const inputs = this.layers.sources[layer]!.map((source) => this.values.get(source));
      if (inputs.some((own) => own === undefined)) {
        return undefined;
      }
      this.values.set(
        layer,
        await this.layers.forward(
          layer,
          inputs.map((own) => own!),
          batch,
        ),
      );
    }
    this.keep(rectifier, this.values.get(rectifier)!, this.problem.error);
    for (const place of this.convsAbove(rectifier)) {
      const delta = await deltaOf(place, this.values.get(rectifier)!, batch, this.product);
      if (typeof delta !== 'string') {
        this.adjoints.fix(place.index, delta);
        return place.index;
      }
    }
    return undefined;
  }

  /**
   * Notes the values at a node, and the slopes of the rectifier that they come from.
   *
   * @param error expected, relative
   */
  private keep(node: number, values: Float64Array, error: number): void {
    this.values.set(node, values);
    this.maps.push({
      node,
      shape: this.layers.shape(node),
      values,
      rectified: this.rectifiers.isRectified(node),
      error,
    });
    const rectifier = this.rectifiers.below(node);
    if (rectifier !== undefined) {
      const low = this.rectifiers.lowSlope(rectifier);
      this.adjoints.setSlopes(
        rectifier,
        values.map((own) => (own > 0 ? 1 : low)),
      );
    }
  }

  private doubt(node: number, values: Float64Array, deviation: Deviation): void {
    const rectifier = this.rectifiers.below(node);
    if (rectifier !== undefined) {
      this.doubts.set(rectifier, doubtsOf(values, deviation));
    }
  }

  /** Output channels of a layer that go through a doubtful entry of the rectifier above. */
  private doubtfulChannels(place: ConvPlace): Set<number> {
    const rectifier = this.rectifiers.above(place.index);
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
}

/** The slope that a rectifier had, from a delta and what it would be if everything passed. */
function slopeBetween(delta: number, open: number, low: number): number {
  return delta / open > (1 + low) / 2 ? 1 : low;
}

/** Each channel of every sample times its own factor. */
function scaledChannels(values: Float64Array, factors: Float64Array, batch: number): Float64Array {
  const plane = values.length / (batch * factors.length);
  return values.map((own, at) => own * factors[Math.floor(at / plane) % factors.length]!);
}
