import type { ProductKernel } from '../../graph/product-kernel.js';
import { NETWORK_INPUT } from '../../network/layer-graph.js';
import { type Pause, isStop } from '../pause.js';
import { most, norm } from '../vectors.js';
import type { ConvPlace } from './conv-place.js';
import { deltaOf } from './deltas.js';
import { type Deviation, cleaned, negativeDeviations, relativeError } from './deviations.js';
import type { KnownDelta } from './conv-equations.js';
import { isSolvable, solveInput } from './equations.js';
import { FoundNodes, scaledChannels, slopeBetween } from './found-nodes.js';
import { LocalLayers } from './local-layers.js';
import { PooledMaxima } from './pooled-maxima.js';
import { isRectifier } from './rectifiers.js';
import { rowSpaceMap } from './row-space-map.js';
import { entriesBelowSums } from './sum-entries.js';
import { TrainNorms } from './train-norms.js';
import type { MapSource, WalkEnd, WalkProblem, WalkProgress, WalkResult } from './walk-state.js';
import { type MaximaPlan, tellMaxima } from './window-maxima.js';

/**
 * Down a network of rectifiers, node by node: where the deltas of what takes a node's output are known, that output is
 * the solution of linear equations; where they are not, a convolution's row space gives input and delta at once. Zeros
 * of the values found are the masks that the next deltas go through.
 */

/** Repairing masks changes the equations that the repair came from. */
const MOST_REPAIRS = 4;
/** Equations that leave more than this are no foundation. */
const MOST_RESIDUAL = 1e-4;
/** Ways to tell the maxima of a pooling; which one comes to the end depends on the network. */
const MAXIMA_PLANS: readonly MaximaPlan[] = [
  { flatRounds: 1, weightedFrom: 8 },
  { flatRounds: 4, weightedFrom: 8 },
  { flatRounds: 3, weightedFrom: Infinity },
];
/** From choices that are roughly right. */
const GUESSED_PLAN: MaximaPlan = { flatRounds: 0, weightedFrom: 8 };
/** Beyond these, too many maxima are wrong for the equations to show which. */
const MOST_MAXIMA_LEFT = 0.1;
const MOST_UNCERTAIN = 0.3;

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
  return resultOf(new Walk(problem, product, random, pause, problem.leavesSigns === true));
}

async function resultOf(walk: Walk): Promise<WalkResult> {
  let stopped = false;
  try {
    await walk.run();
  } catch (error) {
    if (!isStop(error)) {
      throw error;
    }
    stopped = true;
  }
  return {
    batch: walk.found.batch ?? 1,
    maps: [...walk.found.maps].sort((one, other) => one.node - other.node),
    steps: [...walk.found.steps],
    ended: walk.ended,
    stopped,
    goOn: walk.hasLeftSigns
      ? () => {
          walk.leavesSigns = false;
          return resultOf(walk);
        }
      : undefined,
  };
}

class Walk {
  readonly found: FoundNodes;
  ended: readonly WalkEnd[] = [];
  hasLeftSigns = false;
  /** Of the node that is being solved. */
  private wantsSigns = false;
  /** Nodes below max poolings whose choices could not be told. */
  private readonly untold = new Set<number>();
  private readonly layers: LocalLayers;
  private readonly trainNorms: TrainNorms;
  private readonly maxima: PooledMaxima;

  constructor(
    private readonly problem: WalkProblem,
    private readonly product: ProductKernel,
    private readonly random: () => number,
    private readonly pause: Pause<WalkProgress>,
    public leavesSigns: boolean,
  ) {
    this.layers = new LocalLayers(problem, product);
    this.found = new FoundNodes(this.layers);
    this.trainNorms = new TrainNorms(problem, this.found, product, random);
    this.maxima = new PooledMaxima(this.found, product);
    const { solution, head } = problem;
    if (solution) {
      this.found.batch = solution.batch;
      this.found.adjoints.fix(head, solution.delta);
      const below = this.layers.sources[head]![0]!;
      const deviation = negativeDeviations(solution.features, solution.batch);
      this.found.keep(
        below,
        this.found.rectifiers.isRectified(below) ? cleaned(solution.features, deviation) : solution.features,
        problem.error,
      );
    }
  }

  /** Solves what is not solved yet. */
  async run(): Promise<void> {
    this.hasLeftSigns = false;
    const ended: WalkEnd[] = [];
    this.ended = ended;
    const nodes = this.layers.nodes().filter((node) => this.found.convsAbove(node).length > 0);
    for (const [done, node] of nodes.entries()) {
      // Values that are known in part are a map only.
      if (this.found.values.has(node) || this.found.maps.some((map) => map.node === node)) {
        continue;
      }
      const progress = {
        layer: this.layers.name(node),
        done,
        of: nodes.length,
        latest: this.found.maps[this.found.maps.length - 1],
      };
      await this.pause(progress);
      this.wantsSigns = false;
      const reason = await this.solve(node, () => this.pause(progress));
      if (reason !== undefined) {
        this.hasLeftSigns ||= this.wantsSigns;
        ended.push({ node, reason, isUntold: this.untold.has(node) });
      }
    }
    await this.addDelta();
  }

  /** To the deepest map: what comes down to it tells more of the layers below. */
  private async addDelta(): Promise<void> {
    const { maps } = this.found;
    const deepest = maps.reduce((least, { node }, at) => (node < (maps[least]?.node ?? Infinity) ? at : least), -1);
    const map = maps[deepest];
    if (map && map.node !== NETWORK_INPUT && this.problem.mode === 'eval') {
      maps[deepest] = { ...map, delta: await this.found.adjoints.of(map.node) };
    }
  }

  private async solve(node: number, pause: Pause): Promise<string | undefined> {
    const reasons: string[] = [];
    const normalised = this.found.convsAbove(node).filter((place) => this.found.trainNormAbove(place) !== undefined);
    const solved =
      normalised.length > 0
        ? await this.trainNorms.solveByEquations(node, normalised, pause)
        : await this.solveByEquations(node, 'equations', pause);
    if (solved === undefined) {
      return undefined;
    }
    reasons.push(solved);
    for (const place of this.found.convsAbove(node)) {
      const found = await this.solveByRowSpace(node, place, pause);
      if (found === undefined) {
        return undefined;
      }
      reasons.push(`${place.name}: ${found}`);
    }
    for (const place of this.found.convsAbove(node)) {
      const told = await this.solveByMaxima(node, place, pause);
      if (told === undefined) {
        return undefined;
      }
      if (told !== '') {
        reasons.push(`${place.name}: ${told}`);
      }
    }
    return reasons.join('; ');
  }

  /** @returns an empty sentence where no max pooling stands above whose windows' values are known */
  private async solveByMaxima(node: number, place: ConvPlace, pause: Pause): Promise<string | undefined> {
    const pooled = await this.maxima.problem(place, this.found.rectifiers.isRectified(node));
    if (!pooled || this.found.trainNormAbove(place) !== undefined) {
      return '';
    }
    const begin = this.problem.guess?.(node);
    let reason = '';
    for (const plan of begin ? [GUESSED_PLAN] : MAXIMA_PLANS) {
      const told = await tellMaxima({ ...pooled, begin }, plan, this.product, () => pause());
      if (typeof told === 'string') {
        return told;
      }
      reason = `which entries were the largest above it could not be told: they leave ${(100 * told.residual).toPrecision(2)} % of its gradient`;
      this.untold.add(node);
      if (told.residual > MOST_MAXIMA_LEFT || told.uncertain > MOST_UNCERTAIN) {
        continue;
      }
      this.maxima.settle(place, told.winners);
      const solved = await this.solveByEquations(node, 'maxima', pause);
      if (solved === undefined) {
        return undefined;
      }
      this.maxima.forget(place);
      reason = solved;
    }
    return reason;
  }

  private async solveByEquations(node: number, by: MapSource, pause: Pause): Promise<string | undefined> {
    const rectified = this.found.rectifiers.isRectified(node);
    const maySign = rectified && !this.leavesSigns;
    const told = maySign ? await entriesBelowSums(node, this.found, this.layers) : undefined;
    let repaired = 0;
    for (let round = 0; ; round++) {
      const known: KnownDelta[] = [];
      for (const place of this.found.convsAbove(node)) {
        const delta = await this.found.adjoints.of(place.index);
        if (delta) {
          known.push({ place, delta, doubtful: this.found.doubtfulChannels(place) });
        }
      }
      if (known.length === 0) {
        return 'the deltas above are not known';
      }
      const solved = await solveInput(
        known,
        this.found.adjoints.batch,
        this.problem.error,
        this.product,
        maySign ? { told, pause } : undefined,
      );
      if (typeof solved === 'string') {
        this.wantsSigns ||= rectified && this.leavesSigns && isSolvable(known, this.found.adjoints.batch);
        return solved;
      }
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
      this.found.keep(node, values, norm(solved.error) / norm(solved.values), false, solved.unknown);
      if (rectified) {
        const bySigns = solved.condition === null;
        this.found.doubt(node, solved.values, deviation, bySigns ? solved.unknown : undefined);
      }
      this.found.steps.push({
        node,
        layers: known.map(({ place }) => place.name),
        by: solved.condition === null ? 'signs' : by,
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
      const chosen = wanted.length > 0 ? await this.maxima.repair(place, values, wanted) : undefined;
      if (chosen !== undefined) {
        changed += chosen;
        continue;
      }
      const rectifier = wanted.length > 0 ? this.found.rectifiers.above(place.index) : undefined;
      const slopes = rectifier !== undefined ? this.found.adjoints.slopeOf(rectifier) : undefined;
      if (rectifier === undefined || !slopes) {
        continue;
      }
      const full = await this.found.openBelow(rectifier, place.index);
      const delta = full && (await deltaOf(place, values, this.found.adjoints.batch, this.product, wanted));
      if (!full || !delta || typeof delta === 'string') {
        continue;
      }
      const { batch } = this.found.adjoints;
      const plane = place.output[0] * place.output[1];
      const low = this.found.rectifiers.lowSlope(rectifier);
      const next = slopes.slice();
      for (let b = 0; b < batch; b++) {
        for (const o of wanted) {
          const first = (b * place.filters + o) * plane;
          this.found.doubts.get(rectifier)?.fill(0, first, first + plane);
          for (let entry = first; entry < first + plane; entry++) {
            if (full[entry] !== 0) {
              next[entry] = slopeBetween(delta[entry]!, full[entry]!, low);
              changed += Number(next[entry] !== slopes[entry]);
            }
          }
        }
      }
      if (changed > 0) {
        this.found.adjoints.setSlopes(rectifier, next);
      }
    }
    return changed;
  }

  private async solveByRowSpace(node: number, place: ConvPlace, pause: Pause): Promise<string | undefined> {
    if (place.kernel[0] * place.kernel[1] === 1) {
      return 'patches of one pixel do not overlap';
    }
    const norm = this.found.trainNormAbove(place);
    if (norm !== undefined) {
      return this.trainNorms.solveByRowSpace(node, place, norm, pause);
    }
    const sums = this.biasSums(place);
    if (!sums) {
      return 'no bias gradient tells the scale of its map';
    }
    const rectified = this.found.rectifiers.isRectified(node);
    const found = await rowSpaceMap(
      place,
      sums,
      this.found.batch !== undefined ? await this.found.adjoints.open(place.index) : undefined,
      rectified,
      this.problem.error,
      this.product,
      this.random,
      pause,
    );
    if (typeof found === 'string') {
      return found;
    }
    if (this.found.batch !== undefined && found.batch !== this.found.batch) {
      return `its row space is that of ${found.batch} samples, not ${this.found.batch}`;
    }
    this.found.batch = found.batch;
    const deviation = negativeDeviations(found.values, found.batch);
    this.found.keep(
      node,
      rectified ? cleaned(found.values, deviation) : found.values,
      rectified ? relativeError(found.values, deviation) : found.residual,
    );
    if (rectified) {
      this.found.doubt(node, found.values, deviation);
    }
    this.found.adjoints.fix(place.index, found.delta);
    await this.lift(place.index);
    this.found.steps.push({
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
      alone: { channels: place.filters, positions: place.output[0] * place.output[1] },
    });
    return undefined;
  }

  /** dL/dbias that a convolution's output would have: the sum of its delta over samples and positions. */
  private biasSums(place: ConvPlace): Float64Array | undefined {
    const own = this.layers.biasGradient(place.index);
    if (own) {
      return own;
    }
    for (const layer of this.found.rectifiers.pathUp(place.index)) {
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
    const { batch } = this.found.adjoints;
    let conv = from;
    for (;;) {
      const path = this.found.rectifiers.pathUp(conv);
      const last = path[path.length - 1];
      const rectifier = last !== undefined && isRectifier(this.layers.layer(last).op) ? last : undefined;
      const open = rectifier === undefined ? undefined : await this.found.openBelow(rectifier, conv);
      const delta = (await this.found.adjoints.of(conv))!;
      if (rectifier !== undefined && open) {
        const low = this.found.rectifiers.lowSlope(rectifier);
        this.found.adjoints.setSlopes(
          rectifier,
          open.map((full, at) => (full === 0 ? low : slopeBetween(delta[at]!, full, low))),
        );
        return;
      }
      let above = delta;
      for (const layer of path) {
        const scale = this.layers.channelScale(layer);
        if (scale) {
          const largest = most(scale.map(Math.abs));
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
          this.found.adjoints.fix(layer, above);
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
    const { batch } = this.found.adjoints;
    for (const layer of [conv, ...this.found.rectifiers.pathUp(conv)]) {
      const inputs = this.layers.sources[layer]!.map((source) => this.found.values.get(source));
      if (inputs.some((own) => own === undefined)) {
        return undefined;
      }
      this.found.values.set(
        layer,
        await this.layers.forward(
          layer,
          inputs.map((own) => own!),
          batch,
        ),
      );
    }
    this.found.keep(rectifier, this.found.values.get(rectifier)!, this.problem.error);
    for (const place of this.found.convsAbove(rectifier)) {
      const delta = await deltaOf(place, this.found.values.get(rectifier)!, batch, this.product);
      if (typeof delta !== 'string') {
        this.found.adjoints.fix(place.index, delta);
        return place.index;
      }
    }
    return undefined;
  }
}
