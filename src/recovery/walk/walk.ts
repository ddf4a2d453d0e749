import type { ProductKernel } from '../../graph/product-kernel.js';
import { type Pause, isStop } from '../pause.js';
import { norm as norm2 } from '../vectors.js';
import { toOihw } from '../axes.js';
import type { ForwardKnowledge } from '../span/forward-span.js';
import { Adjoints } from './adjoints.js';
import { centredMap } from './centred-map.js';
import type { ConvPlace } from './conv-place.js';
import { deltaOf } from './deltas.js';
import { type Deviation, cleaned, doubtsOf, negativeDeviations, relativeError } from './deviations.js';
import { type KnownDelta, solveInput } from './equations.js';
import { LocalLayers } from './local-layers.js';
import { Rectifiers, isRectifier } from './rectifiers.js';
import { type NormGradient, type NormalisedInput, normalisedInput } from './normalised-input.js';
import { rowSpaceMap } from './row-space-map.js';
import type { ExactMap, WalkProblem, WalkProgress, WalkResult, WalkStep } from './walk-state.js';

/**
 * Down a network of rectifiers, node by node: where the deltas of what takes a node's output are known, that output is
 * the solution of linear equations; where they are not, a convolution's row space gives input and delta at once. Zeros
 * of the values found are the masks that the next deltas go through.
 */

/** Repairing masks changes the equations that the repair came from. */
const MOST_REPAIRS = 4;
/** Sums of deltas that fit to the gradient of a shift, relative to the sum of their sizes; chance does not. */
const SAME_SUM = 0.01;
/** Values this small beside the others may have been on the other side of zero. */
const ALL_BUT_ZERO = 1e-3;
/** Of the sizes of what comes down: what rounding may leave of a sum. */
const LEAST_MISSING = 1e-4;
/** Of what is missing in a sum, what may be left when an entry explains it. */
const MOST_LEFT = 0.05;
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
  /** Nodes whose values are known up to a factor. */
  private readonly sizeless = new Set<number>();
  private isBatchKnown = false;

  constructor(
    private readonly problem: WalkProblem,
    private readonly product: ProductKernel,
    private readonly random: () => number,
    private readonly pause: Pause<WalkProgress>,
  ) {
    this.layers = new LocalLayers(problem, product);
    this.rectifiers = new Rectifiers(this.layers);
    this.adjoints = new Adjoints(this.layers, 1, (node) => this.values.get(node));
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
    const normalised = this.convsAbove(node).filter((place) => this.trainNormAbove(place) !== undefined);
    const solved =
      normalised.length > 0
        ? await this.solveNormalised(node, normalised, pause)
        : await this.solveByEquations(node);
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
      this.keep(node, values, norm2(solved.error) / norm2(solved.values));
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
    const norm = this.trainNormAbove(place);
    if (norm !== undefined) {
      return this.solveBelowTrainNorm(node, place, norm, pause);
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

  /** The batch normalisation in train mode that takes a convolution's output. */
  private trainNormAbove(place: ConvPlace): number | undefined {
    const consumers = this.layers.consumers(place.index);
    const next = consumers.length === 1 ? consumers[0]!.layer : undefined;
    return next !== undefined && this.problem.mode === 'train' && this.layers.layer(next).op === 'batch-norm'
      ? next
      : undefined;
  }

  private async solveBelowTrainNorm(
    node: number,
    place: ConvPlace,
    norm: number,
    pause: Pause,
  ): Promise<string | undefined> {
    if (this.isBatchKnown && this.adjoints.batch !== 1) {
      return 'below batch normalisation in train mode, samples of a batch are not told apart';
    }
    const rectified = this.rectifiers.isRectified(node);
    const found = await centredMap(
      place,
      this.forwardOf(place, norm),
      rectified,
      this.problem.error,
      this.product,
      this.random,
      pause,
    );
    if (typeof found === 'string') {
      return found;
    }
    this.isBatchKnown = true;
    const deviation = negativeDeviations(found.values, 1);
    this.keep(
      node,
      rectified ? cleaned(found.values, deviation) : found.values,
      rectified ? relativeError(found.values, deviation) : found.residual,
      true,
      found.unknown,
    );
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
    await this.fillAbove(node);
    return undefined;
  }

  /** Below batch normalisation in train mode, where what comes down to that is known. */
  private async solveNormalised(
    node: number,
    places: readonly ConvPlace[],
    pause: Pause,
  ): Promise<string | undefined> {
    const place = places.find(({ kernel }) => kernel[0] * kernel[1] > 1);
    if (!place || this.adjoints.batch !== 1) {
      return 'the deltas above are not known';
    }
    const norm = this.trainNormAbove(place)!;
    const about = this.normGradient(norm);
    const layer = this.layers.layer(place.index);
    const stored = layer.op === 'conv' ? this.problem.parameter(layer.weight) : undefined;
    if (!about || !stored || layer.op !== 'conv' || !(await this.adjoints.of(norm))) {
      return 'the deltas above are not known';
    }
    await this.repairBySums(norm);
    if (!(await this.settleSize(norm, about))) {
      return 'what comes down to its normalisation contradicts the gradient of that';
    }
    const delta = (await this.adjoints.of(norm))!;
    const found = await normalisedInput(
      { place, weight: toOihw(stored, layer).data, delta, norm: about, error: this.problem.error },
      this.product,
      this.random,
      pause,
    );
    if (typeof found === 'string') {
      return found;
    }
    if (!(found.residual <= Math.max(1e-3, 10 * this.problem.error))) {
      return `${(100 * found.residual).toPrecision(2)} % of the gradients are left unexplained`;
    }
    const rectified = this.rectifiers.isRectified(node);
    const solved = await solveInput(
      [{ place, delta: found.delta, doubtful: this.doubtfulChannels(place) }],
      1,
      this.problem.error,
      this.product,
    );
    if (typeof solved === 'string') {
      return solved;
    }
    const deviation: Deviation = (at) => solved.error[at]!;
    const repaired = await this.repairNormalised(
      place,
      norm,
      { ...found, values: solved.values, outlying: solved.outlying[0]! },
      about,
    );
    this.keep(
      node,
      rectified ? cleaned(solved.values, deviation) : solved.values,
      norm2(solved.error) / norm2(solved.values),
      true,
    );
    this.steps.push({
      node,
      layers: [place.name],
      by: 'equations',
      unknowns: found.unknowns,
      equations: found.equations,
      condition: null,
      residual: found.residual,
      outlying: found.outlying.length,
      repaired,
      gap: null,
    });
    await this.fillAbove(node);
    return undefined;
  }

  /** Channels that contradict the others had a wrong mask; with the input found, their own gradient tells the right one. */
  private async repairNormalised(
    place: ConvPlace,
    norm: number,
    { values, normal, spread, outlying }: NormalisedInput,
    { dBeta, dGamma }: NormGradient,
  ): Promise<number> {
    const rectifier = outlying.length > 0 ? this.rectifiers.above(norm) : undefined;
    const slopes = rectifier === undefined ? undefined : this.adjoints.slopeOf(rectifier);
    const full = rectifier === undefined ? undefined : await this.openBelow(rectifier, norm);
    const delta = full && (await deltaOf(place, values, 1, this.product, outlying));
    if (rectifier === undefined || !slopes || !full || !delta || typeof delta === 'string') {
      return 0;
    }
    const plane = place.output[0] * place.output[1];
    const low = this.rectifiers.lowSlope(rectifier);
    const next = slopes.slice();
    let changed = 0;
    for (const o of outlying) {
      for (let at = o * plane; at < (o + 1) * plane; at++) {
        if (full[at] !== 0) {
          const own = delta[at]! * spread[o]! + (dBeta[o]! + normal[at]! * dGamma[o]!) / plane;
          next[at] = slopeBetween(own, full[at]!, low);
          changed += Number(next[at] !== slopes[at]);
        }
      }
    }
    if (changed > 0) {
      this.adjoints.setSlopes(rectifier, next);
      this.adjoints.forgetAll();
    }
    return changed;
  }

  /** gamma and the gradients of a normalisation; undefined where the dump holds none. */
  private normGradient(norm: number): NormGradient | undefined {
    const layer = this.layers.layer(norm);
    if (layer.op !== 'batch-norm' || layer.weight === undefined || layer.bias === undefined) {
      return undefined;
    }
    const gamma = this.problem.parameter(layer.weight)?.data;
    const dGamma = this.problem.gradient(layer.weight)?.data;
    const dBeta = this.problem.gradient(layer.bias)?.data;
    return gamma && dGamma && dBeta
      ? { gamma: Float64Array.from(gamma), dGamma: Float64Array.from(dGamma), dBeta: Float64Array.from(dBeta) }
      : undefined;
  }

  /**
   * Masks that were computed forward may be wrong where a value is all but zero; then what comes down to the
   * normalisation below does not add up to the gradient of its shift, by just what the entry lets pass.
   *
   * @param lowest normalisations above it are looked at
   */
  private async repairBySums(lowest: number): Promise<void> {
    for (const norm of this.layers.nodes().filter((node) => node > lowest)) {
      const about = this.problem.mode === 'train' ? this.normGradient(norm) : undefined;
      const rectifier = about && this.rectifiers.above(norm);
      const slopes = rectifier === undefined ? undefined : this.adjoints.slopeOf(rectifier);
      const before = rectifier === undefined ? undefined : this.values.get(this.layers.sources[rectifier]![0]!);
      const full = slopes && (await this.openBelow(rectifier!, norm));
      const delta = full && (await this.adjoints.of(norm));
      if (rectifier === undefined || !slopes || !before || !full || !delta) {
        continue;
      }
      const near = ALL_BUT_ZERO * (norm2(before) / Math.sqrt(before.length));
      const low = this.rectifiers.lowSlope(rectifier);
      const sums = sumsOf(delta, about!.dBeta.length);
      const sizes = sumsOf(delta.map(Math.abs), sums.length);
      const plane = delta.length / sums.length;
      const next = slopes.slice();
      let changed = false;
      for (const [o, sum] of sums.entries()) {
        const missing = about!.dBeta[o]! - sum;
        if (!(Math.abs(missing) > LEAST_MISSING * sizes[o]!)) {
          continue;
        }
        let best: number | undefined;
        let left = MOST_LEFT * Math.abs(missing);
        for (let at = o * plane; at < (o + 1) * plane; at++) {
          const step = (slopes[at] === low ? 1 : -1) * (1 - low) * full[at]!;
          if (Math.abs(before[at]!) < near && Math.abs(missing - step) < left) {
            left = Math.abs(missing - step);
            best = at;
          }
        }
        if (best !== undefined) {
          next[best] = slopes[best] === low ? 1 : low;
          changed = true;
        }
      }
      if (changed) {
        this.adjoints.setSlopes(rectifier, next);
        this.adjoints.forgetAll();
      }
    }
  }

  /**
   * The true size of the map above a normalisation, where only ratios were known: what comes down through layers that do
   * not depend on it falls with it, and adds up to the gradient of the normalisation's shift.
   *
   * @returns whether it does
   */
  private async settleSize(norm: number, { dBeta }: NormGradient): Promise<boolean> {
    const rectifier = this.rectifiers.above(norm);
    const open = this.maps.findIndex(
      (map) => map.upToFactor && rectifier !== undefined && this.rectifiers.below(map.node) === rectifier,
    );
    const sums = async (): Promise<Float64Array> => sumsOf((await this.adjoints.of(norm))!, dBeta.length);
    const sizes = async (): Promise<Float64Array> =>
      sumsOf((await this.adjoints.of(norm))!.map(Math.abs), dBeta.length);
    for (let round = 0; round < 2 && open >= 0; round++) {
      const whole = await sums();
      await this.resize(open, 0.5);
      const falling = (await sums()).map((own, c) => own - whole[c]!);
      const fixed = whole.map((own, c) => own - falling[c]!);
      const factor = factorOf(fixed, falling, dBeta, await sizes());
      if (factor === undefined) {
        await this.resize(open, 2);
        return false;
      }
      await this.resize(open, 2 / factor);
    }
    if (open >= 0) {
      this.maps[open] = { ...this.maps[open]!, upToFactor: false };
      this.sizeless.delete(this.maps[open]!.node);
      await this.fillAbove(this.maps[open]!.node);
    }
    const now = await sums();
    return factorOf(new Float64Array(now.length), now, dBeta, await sizes()) !== undefined;
  }

  private async resize(at: number, factor: number): Promise<void> {
    const map = this.maps[at]!;
    const values = map.values.map((own) => own * factor);
    this.maps[at] = { ...map, values };
    this.values.set(map.node, values);
    await this.fillAbove(map.node);
  }

  /** Computes forward what follows from a node's values, where their size does not matter or is known. */
  private async fillAbove(node: number): Promise<void> {
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
      const isNorm = op === 'batch-norm' && this.problem.mode === 'train';
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

  /** What is known of a convolution's output: the rectifier's values above its normalisation. */
  private forwardOf(place: ConvPlace, norm: number): ForwardKnowledge | undefined {
    const consumers = this.layers.consumers(norm);
    const next = consumers.length === 1 ? consumers[0]!.layer : undefined;
    const values =
      next !== undefined && this.layers.layer(next).op === 'relu'
        ? this.maps.find((map) => map.node === next && !map.unknown)?.values
        : undefined;
    const layer = this.layers.layer(place.index);
    const stored = layer.op === 'conv' ? this.problem.parameter(layer.weight) : undefined;
    return values && stored && layer.op === 'conv' ? { values, weight: toOihw(stored, layer).data } : undefined;
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
  private keep(
    node: number,
    values: Float64Array,
    error: number,
    upToFactor = false,
    unknown: Uint8Array | undefined = undefined,
  ): void {
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
    if (rectifier !== undefined && !unknown) {
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

/** Of each channel, over its positions. */
function sumsOf(values: Float64Array, channels: number): Float64Array {
  const plane = values.length / channels;
  return Float64Array.from({ length: channels }, (_, c) =>
    values.subarray(c * plane, (c + 1) * plane).reduce((sum, own) => sum + own, 0),
  );
}

/**
 * The u for which fixed + u falling is what is wanted, in most channels; undefined where there is none.
 *
 * @param sizes sums of absolute values, which errors are measured by
 */
function factorOf(
  fixed: Float64Array,
  falling: Float64Array,
  wanted: Float64Array,
  sizes: Float64Array,
): number | undefined {
  const largest = falling.reduce((most, own) => Math.max(most, Math.abs(own)), 0);
  const loud = [...falling.keys()].filter((c) => Math.abs(falling[c]!) > 0.05 * largest);
  const factors = Float64Array.from(loud, (c) => (wanted[c]! - fixed[c]!) / falling[c]!).sort();
  const factor = factors[factors.length >> 1];
  if (factor === undefined || !(factor > 0)) {
    return undefined;
  }
  const near = loud.filter(
    (c) => Math.abs(fixed[c]! + factor * falling[c]! - wanted[c]!) < SAME_SUM * sizes[c]!,
  );
  return near.length >= loud.length / 2 ? factor : undefined;
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
