import type { ProductKernel } from '../../graph/product-kernel.js';
import { toOihw } from '../axes.js';
import type { Pause } from '../pause.js';
import type { ForwardKnowledge } from '../span/forward-span.js';
import { joined, norm as length } from '../vectors.js';
import { centredMap } from './centred-map.js';
import type { ConvPlace } from './conv-place.js';
import { median } from './conv-equations.js';
import { deltaOf } from './deltas.js';
import { type Deviation, cleaned, negativeDeviations, relativeError } from './deviations.js';
import { solveInput } from './equations.js';
import { type FoundNodes, slopeBetween } from './found-nodes.js';
import { type NormGradient, type NormalisedInput, convolved, normalisedInput } from './normalised-input.js';
import { orderOf } from './sample-order.js';
import { type WalkProblem, sampleOf } from './walk-state.js';

/**
 * Inputs of convolutions below batch normalisation in train mode. Normalisation hides sizes, which the gradients of its
 * shifts tell: what comes down to it adds up to them.
 */

/** Sums of deltas that fit to the gradient of a shift, relative to the sum of their sizes; chance does not. */
const SAME_SUM = 0.01;
/** Values this small beside the others may have been on the other side of zero. */
const ALL_BUT_ZERO = 1e-3;
/** Of the sizes of what comes down: what rounding may leave of a sum. */
const LEAST_MISSING = 1e-4;
/** In medians of what is missing in the sums of a normalisation: those of a channel with a wrong entry. */
const STANDS_OUT = 5;
/** Of what is missing in a sum, what may be left when an entry explains it. */
const MOST_LEFT = 0.05;
/** Eigenvalues of one solution and of the next best stand this far apart at least. */
const LEAST_GAP = 1e3;
/** Equations that leave more than this are no foundation. */
const MOST_RESIDUAL = 1e-3;

export class TrainNorms {
  constructor(
    private readonly problem: WalkProblem,
    private readonly found: FoundNodes,
    private readonly product: ProductKernel,
    private readonly random: () => number,
  ) {}

  async solveByRowSpace(node: number, place: ConvPlace, norm: number, pause: Pause): Promise<string | undefined> {
    const { found } = this;
    const rectified = found.rectifiers.isRectified(node);
    const above = this.forwardOf(place, norm);
    const map = await centredMap(place, above, rectified, this.problem.error, this.product, this.random, pause);
    if (typeof map === 'string') {
      return map;
    }
    const { batch } = map;
    if (found.batch !== undefined && batch !== found.batch) {
      return `its row space is that of ${batch} samples, not ${found.batch}`;
    }
    found.batch = batch;
    const values = batch > 1 && !above ? await this.inOrder(place, norm, map.values, batch) : map.values;
    if (!values) {
      return 'which of the samples found is which of those above does not show';
    }
    const deviation = negativeDeviations(values, batch);
    found.keep(
      node,
      rectified ? cleaned(values, deviation) : values,
      rectified ? relativeError(values, deviation) : map.residual,
      true,
      map.unknown,
    );
    if (rectified) {
      found.doubt(node, values, deviation);
    }
    found.steps.push({
      node,
      layers: [place.name],
      by: 'row space',
      unknowns: map.unknowns,
      equations: map.equations,
      condition: null,
      residual: map.residual,
      outlying: 0,
      repaired: 0,
      gap: map.gap,
      alone: { channels: place.filters, positions: place.output[0] * place.output[1] },
    });
    await found.fillAbove(node);
    return undefined;
  }

  /** Where what the head takes in follows from the maps found, its gradient tells what comes down from it. */
  private async fixHead(): Promise<void> {
    const { head } = this.problem;
    const { layers, adjoints, values, sizeless } = this.found;
    const below = layers.sources[head]![0]!;
    const features = sizeless.has(below) ? undefined : values.get(below);
    const place = layers.conv(head);
    if (features && place && !adjoints.isFixed(head)) {
      const delta = await deltaOf(place, features, adjoints.batch, this.product);
      if (typeof delta !== 'string') {
        adjoints.fix(head, delta);
      }
    }
  }

  /** Samples found below a sum, in the order of those that were found above it. */
  private async inOrder(
    place: ConvPlace,
    norm: number,
    values: Float64Array,
    batch: number,
  ): Promise<Float64Array | undefined> {
    const rectifier = this.found.rectifiers.aboveSum(norm);
    const above = this.found.maps.find(({ node, unknown }) => node === rectifier && !unknown);
    const weight = this.weightOf(place);
    if (!above || !weight) {
      return values;
    }
    const samples = parted(values, batch);
    const given: Float64Array[] = [];
    for (const sample of samples) {
      given.push(await convolved(place, weight, sample, 1, this.product));
    }
    const order = orderOf(given, parted(above.values, batch), place.filters);
    return order && joined(order.map((source) => samples[source]!));
  }

  /** Below batch normalisation in train mode, where what comes down to that is known. */
  async solveByEquations(node: number, places: readonly ConvPlace[], pause: Pause): Promise<string | undefined> {
    const place = places.find(({ kernel }) => kernel[0] * kernel[1] > 1);
    if (!place) {
      return 'the deltas above are not known';
    }
    const { batch } = this.found.adjoints;
    const norm = this.found.trainNormAbove(place)!;
    const about = this.normGradient(norm);
    const weight = this.weightOf(place);
    await this.fixHead();
    if (!about || !weight || !(await this.found.adjoints.of(norm))) {
      return 'the deltas above are not known';
    }
    await this.repairBySums(norm);
    if (!(await this.settleSize(norm, about))) {
      return 'what comes down to its normalisation contradicts the gradient of that';
    }
    const delta = (await this.found.adjoints.of(norm))!;
    const doubtful = this.found.doubtfulChannels(place, norm);
    const found = await normalisedInput(
      { place, weight, batch, delta, doubtful, norm: about, error: this.problem.error },
      this.product,
      this.random,
      pause,
    );
    if (typeof found === 'string') {
      return found;
    }
    if (!(found.gap >= LEAST_GAP)) {
      return `its equations have more than one solution (eigenvalues ${found.gap.toPrecision(2)} apart)`;
    }
    if (!(found.residual <= Math.max(MOST_RESIDUAL, 10 * this.problem.error))) {
      return `${(100 * found.residual).toPrecision(2)} % of the gradients are left unexplained`;
    }
    const rectified = this.found.rectifiers.isRectified(node);
    const solved = await solveInput([{ place, delta: found.delta, doubtful }], batch, this.problem.error, this.product);
    if (typeof solved === 'string') {
      return solved;
    }
    const deviation: Deviation = (at) => solved.error[at]!;
    const repaired = await this.repairNormalised(
      place,
      norm,
      { ...found, values: solved.values, outlying: [...new Set([...solved.outlying[0]!, ...doubtful])] },
      about,
    );
    this.found.keep(
      node,
      rectified ? cleaned(solved.values, deviation) : solved.values,
      length(solved.error) / length(solved.values),
      true,
    );
    if (rectified) {
      this.found.doubt(node, solved.values, deviation);
    }
    this.found.steps.push({
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
    await this.found.fillAbove(node);
    return undefined;
  }

  /** Channels that contradict the others had a wrong mask; with the input found, their own gradient tells the right one. */
  private async repairNormalised(
    place: ConvPlace,
    norm: number,
    { values, normal, spread, outlying }: NormalisedInput,
    { dBeta, dGamma }: NormGradient,
  ): Promise<number> {
    const { batch } = this.found.adjoints;
    const rectifier = outlying.length > 0 ? this.found.rectifiers.above(norm) : undefined;
    const slopes = rectifier === undefined ? undefined : this.found.adjoints.slopeOf(rectifier);
    const full = rectifier === undefined ? undefined : await this.found.openBelow(rectifier, norm);
    const delta = full && (await deltaOf(place, values, batch, this.product, outlying));
    if (rectifier === undefined || !slopes || !full || !delta || typeof delta === 'string') {
      return 0;
    }
    const plane = place.output[0] * place.output[1];
    const low = this.found.rectifiers.lowSlope(rectifier);
    const next = slopes.slice();
    let changed = 0;
    for (const o of outlying) {
      for (const at of entriesOf(o, place.filters, plane, batch)) {
        if (full[at] !== 0) {
          const own = delta[at]! * spread[o]! + (dBeta[o]! + normal[at]! * dGamma[o]!) / (batch * plane);
          next[at] = slopeBetween(own, full[at]!, low);
          changed += Number(next[at] !== slopes[at]);
        }
      }
    }
    if (changed > 0) {
      this.found.adjoints.setSlopes(rectifier, next);
      this.found.adjoints.forgetAll();
    }
    return changed;
  }

  /** gamma and the gradients of a normalisation; undefined where the dump holds none. */
  private normGradient(norm: number): NormGradient | undefined {
    const layer = this.found.layers.layer(norm);
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
    for (const norm of this.found.layers.nodes().filter((node) => node > lowest)) {
      const about = this.problem.mode === 'train' ? this.normGradient(norm) : undefined;
      const rectifier = about && this.found.rectifiers.above(norm);
      const slopes = rectifier === undefined ? undefined : this.found.adjoints.slopeOf(rectifier);
      const before =
        rectifier === undefined ? undefined : this.found.values.get(this.found.layers.sources[rectifier]![0]!);
      const full = slopes && (await this.found.openBelow(rectifier!, norm));
      const delta = full && (await this.found.adjoints.of(norm));
      if (rectifier === undefined || !slopes || !before || !full || !delta) {
        continue;
      }
      const near = ALL_BUT_ZERO * (length(before) / Math.sqrt(before.length));
      const low = this.found.rectifiers.lowSlope(rectifier);
      const { batch } = this.found.adjoints;
      const sums = sumsOf(delta, about!.dBeta.length, batch);
      const sizes = sumsOf(delta.map(Math.abs), sums.length, batch);
      const plane = delta.length / (sums.length * batch);
      const next = slopes.slice();
      let changed = false;
      const missingIn = sums.map((sum, o) => about!.dBeta[o]! - sum);
      const least = leastMissing(missingIn, sizes);
      for (const [o, missing] of missingIn.entries()) {
        if (!(Math.abs(missing) > least * sizes[o]!)) {
          continue;
        }
        let best: number | undefined;
        let left = MOST_LEFT * Math.abs(missing);
        for (const at of entriesOf(o, sums.length, plane, batch)) {
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
        this.found.adjoints.setSlopes(rectifier, next);
        this.found.adjoints.forgetAll();
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
    const { batch } = this.found.adjoints;
    const rectifier = this.found.rectifiers.above(norm);
    const open = this.found.maps.findIndex(
      (map) => map.upToFactor && rectifier !== undefined && this.found.rectifiers.below(map.node) === rectifier,
    );
    const sums = async (): Promise<Float64Array> => sumsOf((await this.found.adjoints.of(norm))!, dBeta.length, batch);
    const sizes = async (): Promise<Float64Array> =>
      sumsOf((await this.found.adjoints.of(norm))!.map(Math.abs), dBeta.length, batch);
    for (let round = 0; round < 2 && open >= 0; round++) {
      const whole = await sums();
      await this.found.resize(open, 0.5);
      const falling = (await sums()).map((own, c) => own - whole[c]!);
      const fixed = whole.map((own, c) => own - falling[c]!);
      const factor = factorOf(fixed, falling, dBeta, await sizes());
      if (factor === undefined) {
        await this.found.resize(open, 2);
        return false;
      }
      await this.found.resize(open, 2 / factor);
    }
    if (open >= 0) {
      this.found.maps[open] = { ...this.found.maps[open]!, upToFactor: false };
      this.found.sizeless.delete(this.found.maps[open].node);
      await this.found.fillAbove(this.found.maps[open].node);
    }
    const now = await sums();
    return factorOf(new Float64Array(now.length), now, dBeta, await sizes()) !== undefined;
  }

  /** What is known of a convolution's output: each sample's values of the rectifier above its normalisation. */
  private forwardOf(place: ConvPlace, norm: number): ForwardKnowledge[] | undefined {
    const consumers = this.found.layers.consumers(norm);
    const next = consumers.length === 1 ? consumers[0]!.layer : undefined;
    const map =
      next !== undefined && this.found.layers.layer(next).op === 'relu'
        ? this.found.maps.find(({ node, unknown }) => node === next && !unknown)
        : undefined;
    const weight = this.weightOf(place);
    return map && weight
      ? parted(map.values, this.found.adjoints.batch).map((values) => ({ values, weight }))
      : undefined;
  }

  /** Output channels first. */
  private weightOf({ index }: ConvPlace): Float64Array | undefined {
    const layer = this.found.layers.layer(index);
    const stored = layer.op === 'conv' ? this.problem.parameter(layer.weight) : undefined;
    return stored && layer.op === 'conv' ? toOihw(stored, layer).data : undefined;
  }
}

/**
 * What has to be missing in the sum of a channel, against the size of what is summed, for one wrong entry to stand out. While a size
 * above is open, or an entry further up is wrong, all channels are off, and an entry that explains one does so by chance.
 *
 * @param missing of each channel, the gradient of a normalisation's shift less the sum of what comes down to it
 * @param sizes of each channel, the sum of absolute values; zero where it is silent, which tells nothing of the others
 * @returns Infinity where none can stand out
 */
export function leastMissing(missing: Float64Array, sizes: Float64Array): number {
  const living = [...sizes.keys()].filter((channel) => sizes[channel]! > 0);
  const usual = median(Float64Array.from(living, (channel) => Math.abs(missing[channel]!) / sizes[channel]!));
  return living.length > 0 && usual <= SAME_SUM ? Math.max(LEAST_MISSING, STANDS_OUT * usual) : Infinity;
}

/** Values of each sample. */
function parted(values: Float64Array, batch: number): Float64Array[] {
  return Array.from({ length: batch }, (_, b) => sampleOf({ values }, b, batch));
}

/** Of each channel, over its positions in all samples. */
function sumsOf(values: Float64Array, channels: number, batch: number): Float64Array {
  const plane = values.length / (channels * batch);
  return Float64Array.from({ length: channels }, (_, c) =>
    entriesOf(c, channels, plane, batch).reduce((sum, at) => sum + values[at]!, 0),
  );
}

/** Where one channel of batch x channels x plane lies. */
function entriesOf(channel: number, channels: number, plane: number, batch: number): number[] {
  return Array.from(
    { length: batch * plane },
    (_, at) => (Math.floor(at / plane) * channels + channel) * plane + (at % plane),
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
  const near = loud.filter((c) => Math.abs(fixed[c]! + factor * falling[c]! - wanted[c]!) < SAME_SUM * sizes[c]!);
  return near.length >= loud.length / 2 ? factor : undefined;
}
