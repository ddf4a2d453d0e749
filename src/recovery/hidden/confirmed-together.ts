import { multiply } from '../linear-algebra.js';
import { norm, scaled } from '../vectors.js';
import type { FactoredLayer } from './factored-layer.js';
import { type LabelFit, isClear, labelOf, missingShare, normOn } from './label-above.js';
import { type LayerState, outputsOf } from './layer-state.js';
import { independent, inverseOf } from './mixtures.js';
import type { SeparatedSample } from './separate-samples.js';

/**
 * All samples of a batch at once. As many inputs as the gradient has directions leave no choice of the slopes, d_j being at right
 * angles to every x_i but x_j. If an input held c times another one, x_i + c x_j, the slopes of j would hold -c times those
 * of i, which do not vanish on the units that j leaves silent, and are not what the classifier above would ask of j's input for any
 * class: both bound c, and with it the error of x_i.
 */

/** What may have been the parameters when a sample was seen. */
export interface Course {
  /** One state, or those of several steps; each sample was seen by about one of them. */
  readonly states: readonly {
    readonly layer: LayerState;
    readonly classifier: LayerState | undefined;
    /** What the cross-entropy's slopes are times; undefined for one over all samples. */
    readonly scale: number | undefined;
  }[];
}

/** What speaks for inputs that are all there is. */
export interface Together {
  /** Those whose slopes vanish where they should, and are a class' where a classifier is known. */
  readonly confirmed: number;
  /** Those that are not off by much; undefined where one is not confirmed, or most may be off by more. */
  readonly samples: readonly SeparatedSample[] | undefined;
}

/** Shares of the outputs' root mean square below which the side of zero is not certain. */
const EDGES = [1e-3, 1e-2, 0.03, 0.1, 0.2];
const FEWEST_SILENT = 3;
/** Of each sample: of so many one by chance; nothing was fitted to it. */
const LEAST_EVIDENCE = 6;
/** Slopes of silent units above this share of the active ones' are none that vanish. */
const MOST_LEFT_OVER = 0.02;
/** Share of the silent units that may be left out where weights changed, as they may have been active for a while. */
const MOST_OFF = 0.25;
/** The same of silent and of active ones, where slopes are compared with those of a class. */
const MOST_LEFT_OUT = 0.15;
/** Slopes that are further from those of any class say nothing of what they lack. */
const MOST_MISSED = 0.1;
/** Bounds from few units are enlarged by this. */
const SAFETY = 3;
/** Inputs with a larger expected error, relative to their size, are not told. */
const MOST_ERROR = 0.1;
/** Where fewer than this share of all can be told, none is. */
const FEWEST_TOLD = 0.5;

/** One of them, before all are confirmed. */
interface Candidate {
  readonly mixture: Float64Array;
  readonly input: Float64Array;
  readonly slopes: Float64Array;
  readonly seen: Seen | undefined;
}

/** How a sample's slopes go with one state. */
interface Seen {
  readonly state: number;
  readonly silence: Silence;
  readonly fit: LabelFit | undefined;
}

/** The units that a sample leaves silent. */
interface Silence {
  readonly units: readonly number[];
  readonly active: number;
  /** Root mean square of its slopes on them. */
  readonly left: number;
  /** The same over that on active ones. */
  readonly leftOver: number;
  readonly evidence: number;
}

export class Confirmation {
  /** What enters the layer, and what leaves it in each state, by mixture. */
  private readonly known = new Map<Float64Array, { input: Float64Array; outputs: readonly Float64Array[] }>();

  constructor(
    private readonly layer: FactoredLayer,
    private readonly course: Course,
  ) {}

  /**
   * @param mixtures as many as the gradient has directions, with a bias' number of one
   * @returns undefined where they are not independent
   */
  of(mixtures: readonly Float64Array[]): Together | undefined {
    const slopes = inverseOf(mixtures)?.map((own) => multiply(this.layer.left, own));
    if (!slopes) {
      return undefined;
    }
    const all = mixtures.map((mixture, at): Candidate => {
      const { input, outputs } = this.forwardOf(mixture);
      return { mixture, input, slopes: slopes[at]!, seen: this.seenBy(outputs, slopes[at]!) };
    });
    const confirmed = all.filter(({ seen }) => seen && (!seen.fit || isClear(seen.fit))).length;
    return { confirmed, samples: confirmed === all.length ? samplesOf(this.layer, all) : undefined };
  }

  /** A mixture in the scale in which it is an input. */
  normalised(mixture: Float64Array): Float64Array {
    return scaled(mixture, 1 / this.layer.inputOf(mixture).at(-1)!);
  }

  /**
   * The input that is missing, where all others are there and a classifier is known: how much of its slopes theirs lack tells how
   * much of theirs it lacks.
   *
   * @returns undefined where the slopes of one do not become a class'
   */
  missing(mixtures: readonly Float64Array[]): Float64Array | undefined {
    const { states } = this.course;
    const taken = independent(mixtures.map((own) => scaled(own, 1 / norm(own)))).map(({ unit }) => unit);
    const [free] = this.layer.complement(taken);
    const duals = taken.length === this.layer.rank - 1 && free ? inverseOf([...mixtures, free]) : undefined;
    if (!duals || !free) {
      return undefined;
    }
    const others = multiply(this.layer.left, free);
    const input = free.slice();
    for (const [at, mixture] of mixtures.entries()) {
      const slopes = multiply(this.layer.left, duals[at]!);
      const { outputs } = this.forwardOf(mixture);
      const fits = states.flatMap(({ classifier, scale = 1 / this.layer.rank }, state) =>
        classifier ? [missingShare(classifier, scale, outputs[state]!, slopes, others, MOST_LEFT_OUT)] : [],
      );
      const best = fits.sort((one, other) => one.off - other.off)[0];
      if (!best || best.off > MOST_MISSED) {
        return undefined;
      }
      mixture.forEach((own, k) => (input[k]! -= best.share * own));
    }
    return this.normalised(input);
  }

  private forwardOf(mixture: Float64Array): { input: Float64Array; outputs: readonly Float64Array[] } {
    const known = this.known.get(mixture);
    if (known) {
      return known;
    }
    const input = this.layer.inputOf(mixture).slice(0, -1);
    const own = { input, outputs: this.course.states.map(({ layer }) => outputsOf(input, layer)) };
    this.known.set(mixture, own);
    return own;
  }

  private seenBy(outputs: readonly Float64Array[], slopes: Float64Array): Seen | undefined {
    const { states } = this.course;
    const isOne = states.length === 1;
    const { isLive } = this.layer.rectified;
    const all = states.flatMap(({ classifier, scale = 1 / this.layer.rank }, state): Seen[] => {
      const own = outputs[state]!;
      const silence = silenceOf(isLive, own, slopes, isOne ? 0 : MOST_OFF, Math.log10(states.length));
      return silence
        ? [{ state, silence, fit: classifier && labelOf(classifier, scale, own, slopes, isOne ? 0 : MOST_LEFT_OUT) }]
        : [];
    });
    return all.sort((one, other) =>
      one.fit && other.fit ? one.fit.off - other.fit.off : other.silence.evidence - one.silence.evidence,
    )[0];
  }
}

function samplesOf(layer: FactoredLayer, all: readonly Candidate[]): readonly SeparatedSample[] | undefined {
  const samples = all.flatMap((own): SeparatedSample[] => {
    const { mixture, input, slopes, seen } = own;
    if (!seen) {
      return [];
    }
    const square = all.reduce(
      (sum, other) => sum + (other === own ? 0 : (SAFETY * mostOf(other, own) * norm(other.input)) ** 2),
      0,
    );
    const error = Math.hypot(Math.sqrt(square / input.length), layer.noise * norm(mixture));
    const {
      state,
      silence: { units, active, leftOver, evidence },
      fit,
    } = seen;
    const label = fit && isClear(fit) ? { label: fit } : {};
    return error < (MOST_ERROR * norm(input)) / Math.sqrt(input.length)
      ? [{ input, slopes, error, silent: units.length, active, leftOver, evidence, state, ...label }]
      : [];
  });
  return samples.length >= FEWEST_TOLD * all.length ? samples : undefined;
}

/** How many times another input, at most, one may hold: by what it would leave of the other one's slopes. */
function mostOf({ seen, slopes: others }: Candidate, { slopes }: Candidate): number {
  if (!seen) {
    return Infinity;
  }
  const { silence, fit } = seen;
  const byClass = fit ? (fit.off * normOn(fit.units, others)) / normOn(fit.units, slopes) : Infinity;
  return Math.min(silence.left / rootMeanSquare(silence.units, slopes), byClass);
}

/** @param mostOff share of the silent units that may be left out. @param chances log10 of how often it was tried */
function silenceOf(
  isLive: Uint8Array,
  outputs: Float64Array,
  slopes: Float64Array,
  mostOff: number,
  chances: number,
): Silence | undefined {
  const usual = norm(outputs) / Math.sqrt(outputs.length);
  let best: Silence | undefined;
  for (const edge of EDGES) {
    const clear = [...outputs.keys()].filter((unit) => isLive[unit] === 1 && Math.abs(outputs[unit]!) > edge * usual);
    const active = clear.filter((unit) => outputs[unit]! > 0);
    const silent = clear
      .filter((unit) => outputs[unit]! < 0)
      .sort((one, other) => Math.abs(slopes[one]!) - Math.abs(slopes[other]!));
    const all = silent.length;
    let against = chances;
    for (let off = 0; off <= mostOff * all && all - off >= FEWEST_SILENT && active.length > 0; off++) {
      const units = silent.slice(0, all - off);
      const left = rootMeanSquare(units, slopes);
      const leftOver = left / rootMeanSquare(active, slopes);
      const evidence = -units.length * Math.log10(leftOver) - against;
      if (leftOver < MOST_LEFT_OVER && evidence > Math.max(LEAST_EVIDENCE, best?.evidence ?? 0)) {
        best = { units, active: active.length, left, leftOver, evidence };
      }
      against += Math.log10((all - off) / (off + 1));
    }
  }
  return best;
}

function rootMeanSquare(units: readonly number[], values: Float64Array): number {
  return normOn(units, values) / Math.sqrt(units.length);
}
