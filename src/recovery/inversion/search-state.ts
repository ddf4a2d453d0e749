import type { Engine } from '../../engine/engine.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import { type TensorGraph, type TensorNode, sizeOf } from '../../graph/tensor-graph.js';
import type { Pause } from '../pause.js';

/** What an inversion starts from, what it finds, and how far the search for it has come. */

export interface InversionProblem {
  readonly graph: TensorGraph;
  /** Variable "x" of the input, one sample. */
  readonly input: TensorNode;
  readonly stages: readonly InversionStage[];
  /** How far the gradients below the deepest map are from those captured, a scalar; undefined where that is not known. */
  readonly mismatch: TensorNode | undefined;
  readonly random: () => number;
  /** An input found elsewhere, where the search begins. Flat, of the input's size. */
  readonly begin?: Float64Array | undefined;
  /** Rounds with gradients, at most: where an input that is roughly right is enough. */
  readonly rounds?: number | undefined;
}

/** The target is the value. */
export const KNOWN = 1;
/** A rectifier has cut the value, so it is at most zero. */
export const CUT = 0;
export const UNKNOWN = 2;

/** Name of the variable of how smooth maxima are, a scalar. */
export const TEMPERATURE = 'temperature';

/** Values that are known; the first stage's may be rough, what is found from them is where the next begins. */
export interface InversionStage {
  /** Values before activations: `target` where they are known; elsewhere not above zero. 1 x entries. */
  readonly output: TensorNode;
  /** The same with smooth maxima, which also depends on the variable {@link TEMPERATURE}; undefined without maxima. */
  readonly softened: TensorNode | undefined;
  readonly target: Float64Array;
  /** For each entry {@link KNOWN}, {@link CUT} or {@link UNKNOWN}. */
  readonly active: Uint8Array;
  /** Expected error of the target, relative. */
  readonly error: number;
  /** Layer whose output is the deepest of its maps. */
  readonly deepest: number;
}

export interface Inversion {
  readonly input: Float64Array;
  /** ||F(x) - target|| / ||target|| over what is known, but for entries that stood out. */
  readonly residual: number;
  /** Share of all entries that contradict the input by more than a thousandth of the values' size. */
  readonly contradicting: number;
  /** Whether it explains what is known, so that another start was not needed. */
  readonly settled: boolean;
  /** Whether what is left is of the size of the errors of what is known. */
  readonly isAtFloor: boolean;
  /** Whether all multiplications were spent before an input was found that explains what is known. */
  readonly spent: boolean;
  /** The user stopped it. */
  readonly stopped: boolean;
}

export interface InversionProgress {
  readonly step: number;
  readonly residual: number;
  readonly input: Float64Array;
}

export interface InversionLimits {
  /** Random inputs to begin at, at most; one is always tried. */
  readonly starts: number;
  /** Multiplications to spend, at most: beyond, what there is by then is what is found. */
  readonly work: number;
  /** Whether time is up: what there is by then is what is found. */
  isLate(): boolean;
}

/** An input this good needs no other start. */
const GOOD_RESIDUAL = 1e-4;
const FEW_CONTRADICTING = 2e-3;
/** Where all the rest fits as well as can be expected, some of what was told may have been wrong. */
const FEW_AT_THE_FLOOR = 1e-2;
/** In units of the expected error: above, something is still chosen wrongly. */
const AT_FLOOR = 10;
/** Float32 dumps do not tell more. */
export const EXACT = 3e-7;

export type Best = Pick<Inversion, 'input' | 'residual' | 'contradicting'>;

/** The best input so far and the work that it took; all parts of a search share it. */
export class SearchState {
  best: Best;
  /** Multiplications done. */
  work = 0;
  /** Until which a start may creep. */
  share = 0;

  constructor(
    readonly problem: InversionProblem,
    readonly engine: Engine,
    readonly limits: InversionLimits,
    readonly product: ProductKernel,
    readonly pause: Pause<InversionProgress>,
  ) {
    this.best = { input: new Float64Array(sizeOf(problem.input.shape)), residual: Infinity, contradicting: 1 };
  }

  consider(found: Best): void {
    if (score(found) < score(this.best)) {
      this.best = found;
    }
  }

  get isLate(): boolean {
    return this.work >= this.limits.work || this.limits.isLate();
  }

  get isSpent(): boolean {
    return this.work >= this.limits.work && !this.isGood;
  }

  get isGood(): boolean {
    const { residual, contradicting } = this.best;
    return (
      residual < GOOD_RESIDUAL && contradicting < (residual < this.expected ? FEW_AT_THE_FLOOR : FEW_CONTRADICTING)
    );
  }

  /** Whether what is left is of the size of the errors of what is known. */
  get isAtFloor(): boolean {
    return this.isGood && this.best.residual < AT_FLOOR * Math.max(EXACT, this.expected);
  }

  private get expected(): number {
    return this.problem.stages[this.problem.stages.length - 1]!.error;
  }
}

/** Fewer contradictions are better, then a smaller residual: a wrong input can be right on the entries that it keeps. */
export function score({ residual, contradicting }: Best): number {
  return Math.hypot(residual, contradicting);
}

export function knownCount(active: Uint8Array): number {
  return active.reduce((sum, own) => sum + Number(own === KNOWN), 0);
}

export function sizeOfKnown(target: Float64Array, active: Uint8Array): number {
  return Math.sqrt(target.reduce((sum, value, at) => sum + (active[at] === KNOWN ? value * value : 0), 0));
}
