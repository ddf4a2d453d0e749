import type { Matrix } from '../linear-algebra.js';
import { dotAt, norm } from '../vectors.js';
import { type LayerState, outputsOf } from './layer-state.js';
import { vanishingOn } from './vanishing.js';

/**
 * Whether a vector is the input of one sample: a rectifier passes no gradient where W x + b is negative, so among the mixtures of
 * the gradient's left singular vectors one must be zero there. For the input of one sample it is, on many more units than a
 * mixture could be made zero on; for anything else it is not.
 */

export interface RectifiedLayer extends LayerState {
  /** Units whose gradient is above noise, 1 for each; others say nothing. */
  readonly isLive: Uint8Array;
}

export interface SilentUnits {
  /** Units that the input leaves silent, and those that it does not, of the live ones. */
  readonly silent: number;
  readonly active: number;
  /** Root mean square of the slopes of silent units over that of active ones. */
  readonly leftOver: number;
  /** Mixture of the left singular vectors: rank numbers, of length one. */
  readonly mixture: Float64Array;
  /** log10 of how unlikely it is that a mixture is so small on so many units by chance, roughly. */
  readonly evidence: number;
}

/** Shares of the outputs' root mean square below which the side of zero is not certain: the more exact the input, the less. */
const EDGES = [1e-4, 1e-3, 1e-2, 0.1];
/** Silent units beyond those on which some mixture can always be made zero. */
const FEWEST_SURPLUS = 6;

/**
 * @param input n numbers, in the layer's own scale
 * @param left m x rank: what the slopes of the samples are mixtures of
 * @param fewestAgainst units that must stand against any other mixture
 * @returns undefined where too few units are silent to tell
 */
export function silentUnits(
  input: Float64Array,
  left: Matrix,
  layer: RectifiedLayer,
  fewestAgainst: number,
): SilentUnits | undefined {
  const outputs = outputsOf(input, layer);
  const usual = norm(outputs) / Math.sqrt(outputs.length);
  let best: SilentUnits | undefined;
  for (const edge of EDGES) {
    const own = beyond(edge * usual, outputs, left, layer.isLive, fewestAgainst);
    best = own && own.evidence > (best?.evidence ?? -Infinity) ? own : best;
  }
  return best;
}

function beyond(
  edge: number,
  outputs: Float64Array,
  left: Matrix,
  isLive: Uint8Array,
  fewestAgainst: number,
): SilentUnits | undefined {
  const silent: number[] = [];
  const active: number[] = [];
  outputs.forEach((own, unit) => {
    if (isLive[unit] === 1 && Math.abs(own) > edge) {
      (own < 0 ? silent : active).push(unit);
    }
  });
  const { data, cols: rank } = left;
  const surplus = silent.length - (rank - 1);
  if (surplus < FEWEST_SURPLUS || active.length === 0) {
    return undefined;
  }
  const { mixture, left: rest, against } = vanishingOn(silent, left);
  if (against < fewestAgainst) {
    return undefined;
  }
  const square = active.reduce((sum, unit) => sum + dotAt(data, unit * rank, mixture, rank) ** 2, 0);
  const leftOver = rest / Math.sqrt(square / active.length);
  return { silent: silent.length, active: active.length, leftOver, mixture, evidence: -surplus * Math.log10(leftOver) };
}
