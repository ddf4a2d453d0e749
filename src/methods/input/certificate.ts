import type { Engine } from '../../engine/engine.js';
import { evaluateWithProduct } from '../../graph/evaluate-with-product.js';
import { evaluate } from '../../graph/evaluate.js';
import { type TensorData, workOf } from '../../graph/tensor-graph.js';
import type { LayerError, ReconstructionReport } from '../../protocol/report.js';
import { type CapturedGradient, type Known, simulatedGradients } from '../../recovery/matching/objective.js';
import type { NetworkTensors } from './network-tensors.js';
import type { Context } from '../method.js';
import { fitGain } from '../../recovery/inversion/gain.js';
import { fastestProduct, pausingProduct } from '../pausing-product.js';
import type { Prepared } from './prepare.js';
import type { MapsBasis } from './inputs-of-maps.js';
import { type NumberErrors, type ReconstructionTask, numberErrorsOf } from './reconstruction-task.js';

/** How far an input's simulated gradient is from the captured one, and what that says of the input. */

/** An input that an attack found, flat, in the network's normalised units; errors as the report has them. */
export interface Found {
  readonly input: Float64Array;
  readonly method: 'chain' | 'maps' | 'matching';
  readonly gradientError: number;
  readonly expectedError: number | null;
  /** The layer whose gradient is left most beyond its noise, relative; undefined where none is. */
  readonly worst: LayerError | undefined;
  /** What {@link mostOfLayer} allows of it. */
  readonly mostOfLayer: number;
  /** Whether normalisation hides the input's size from the gradient. */
  readonly sizeOpen?: true;
}

/** Of an input, as {@link Found} has them. */
export type Certificate = Pick<Found, 'gradientError' | 'worst'>;

/** Float64 loops are taken for certificates up to this many multiplications. */
const LOOPS_UP_TO = 3e8;
/** Sizes of inputs are fitted up to this many multiplications for each gradient. */
const FITTED_UP_TO = 3e10;
/** A certificate below this is as good as rounding lets it be. */
export const CERTAIN = 1e-4;

/** Gradients of this much error can still belong to a recognisable image. */
export const CLOSE = 0.01;
/** Where all else fits, inputs of 14 dB that noise left leave 2 % and more of a layer's gradient; right ones of an open size up to 1.4 %. */
export const CLOSE_LAYER = 1.5 * CLOSE;
/** The same of inputs that exact maps give: a few maxima chosen wrongly leave 3 % of the first layer's at 39 dB. */
const CLOSE_LAYER_OF_MAPS = 0.1;
/** Maps that err by less, relatively, hold what float32 gives; where each number has noise of a hundred-thousandth, all err by more. */
const EXACT_MAPS = 3e-6;

/** What any layer may leave of its gradient, beyond its noise, for an input to be exact. */
export const EXACT_LAYER = 1e-3;

/** What a layer may leave of its gradient for an input to be close. @param basis undefined where it was not computed from maps */
export function mostOfLayer(basis?: MapsBasis): number {
  return basis?.isPooled === true && basis.error <= EXACT_MAPS ? CLOSE_LAYER_OF_MAPS : CLOSE_LAYER;
}
/** In units of normalised inputs, whose deviation is one: about one of 256 grey levels. */
export const PRECISE = 0.02;

/** Sizes that an input is tried in; one rectifier that switches changes a gradient by far more than a size may do. */
const TRIED_SIZES = [1.1, 1 / 1.1, 1.02, 1 / 1.02];
/** A size that changes the gradient, relatively, by less than this share of its own change does not show in it. */
const HIDDEN = 0.1;

/** A wrong network's image explains less than this of the gradient, a right one's more, whatever the noise. */
export const RIGHT_NETWORK = 0.05;

/** In expected norms of the noise. */
const NOISE_MARGIN = 1.5;

/** A layer whose gradient is smaller than this share of the whole is measured against that share. */
const SMALLEST_LAYER = 1e-4;

/**
 * ||simulated - captured|| / ||captured|| of an input over all parameters that have a gradient, under its label, and that of the layer
 * that fits worst.
 *
 * @param x flat, in the network's normalised units
 * @param known label of K numbers and scale of the captured gradient
 * @param errors of the captured numbers
 * @param engine takes what is too much for Float64 loops; undefined for float64 always
 * @throws EngineError when the engine cannot compute it
 */
export async function certify(
  { graph, net, tensors }: Pick<Prepared, 'graph' | 'net' | 'tensors'>,
  x: Float64Array,
  known: Known,
  errors: NumberErrors,
  engine?: Engine,
): Promise<Certificate> {
  const captured = capturedGradients(tensors);
  const slopes = simulatedGradients(graph, net, captured, known);
  if (workOf(slopes) < LOOPS_UP_TO) {
    return certificateOf(evaluate(slopes, { x }), captured, errors);
  }
  if (!engine) {
    return certificateOf(await evaluateWithProduct(slopes, { x }, await fastestProduct()), captured, errors);
  }
  const program = await engine.compile(slopes);
  try {
    return certificateOf(await program.run({ x }), captured, errors);
  } finally {
    await program.dispose();
  }
}

/**
 * Below batch normalisation in train mode an input's size may hardly show in its gradient, so a small certificate says
 * nothing of it: then the size is fitted, and stays open, since other errors of the input can look like another size. Where it shows, it is
 * fitted all the same: maps are known up to it, and what it leaves is most of what a right input leaves.
 *
 * @returns the input in the size that explains the gradient best, and its certificate; the same input where it is too
 * large to be simulated in float64 several times
 */
export async function withFittedSize(
  { graph, net, tensors }: Pick<Prepared, 'graph' | 'net' | 'tensors'>,
  found: Found,
  known: Known,
  errors: NumberErrors,
  context: Context,
): Promise<Found> {
  const captured = capturedGradients(tensors);
  const slopes = simulatedGradients(graph, net, captured, known);
  if (workOf(slopes) > FITTED_UP_TO) {
    return { ...found, sizeOpen: true };
  }
  const product = await pausingProduct(context);
  const gradientsAt = (x: Float64Array): Promise<Float64Array[]> => evaluateWithProduct(slopes, { x }, product);
  const own = (await gradientsAt(found.input)).map((data, at) => ({ ...captured[at]!, data }));
  let isHidden = false;
  for (const size of TRIED_SIZES) {
    const other = await gradientsAt(found.input.map((value) => size * value));
    if (relativeDistance(other, own) < HIDDEN * Math.abs(size - 1)) {
      isHidden = true;
      break;
    }
  }
  const open = isHidden ? { sizeOpen: true as const } : {};
  const { factor, error } = await fitGain(
    gradientsAt,
    captured.map(({ data }) => data),
    found.input,
    () => context.pause(),
  );
  if (error < 1) {
    const input = found.input.map((value) => value * factor);
    const certificate = certificateOf(await gradientsAt(input), captured, errors);
    const most = Math.max(found.mostOfLayer, found.worst?.error ?? 0);
    if (certificate.gradientError <= found.gradientError && (certificate.worst?.error ?? 0) <= most) {
      return { ...found, ...certificate, input, ...open };
    }
  }
  return { ...found, ...open };
}

function certificateOf(
  found: readonly TensorData[],
  captured: readonly ShapedGradient[],
  errors: NumberErrors,
): Certificate {
  const off = found.map((data, at) => Math.sqrt(squaredDistance(data, captured[at]!.data)));
  const sizes = captured.map(({ data }) => Math.sqrt(squaredNorm(data)));
  return {
    gradientError: relativeDistance(found, captured),
    worst: worstLayer(captured, off, sizes, errors),
  };
}

/**
 * The head's gradient, or any that is large, hides a layer that an input does not explain, and the first layers tell most of it.
 *
 * @param off for each tensor the norm of what is left of it
 * @param sizes and of what it is measured against
 * @param errors of the captured numbers
 */
export function worstLayer(
  captured: readonly ShapedGradient[],
  off: readonly number[],
  sizes: readonly number[],
  { noise, roundoff, underflow }: NumberErrors,
): LayerError | undefined {
  const least = SMALLEST_LAYER * Math.hypot(...sizes);
  let worst: LayerError | undefined;
  captured.forEach(({ parameter, data, shape }, at) => {
    const error = off[at]! / Math.max(sizes[at]!, least, Number.MIN_VALUE);
    const each = Math.max(noise, underflow / Math.sqrt(12)) * Math.sqrt(data.length);
    const isNoise = off[at]! <= NOISE_MARGIN * Math.hypot(each, roundoff * Math.sqrt(squaredNorm(data)));
    if (shape.length > 1 && !isNoise && error > (worst?.error ?? 0)) {
      worst = { weight: parameter, error };
    }
  });
  return worst;
}

function relativeDistance(found: readonly TensorData[], captured: readonly CapturedGradient[]): number {
  let difference = 0;
  let size = 0;
  captured.forEach(({ data }, index) => {
    difference += squaredDistance(found[index]!, data);
    size += squaredNorm(data);
  });
  return Math.sqrt(difference / Math.max(size, Number.MIN_VALUE));
}

function squaredDistance(one: TensorData, other: TensorData): number {
  let sum = 0;
  for (let at = 0; at < other.length; at++) {
    const off = one[at]! - other[at]!;
    sum += off * off;
  }
  return sum;
}

function squaredNorm(values: TensorData): number {
  let sum = 0;
  for (const value of values) {
    sum += value * value;
  }
  return sum;
}

export interface ShapedGradient extends CapturedGradient {
  readonly shape: readonly number[];
}

/** Gradients of those parameters of the recipe that the dump holds, in the recipe's order. */
export function capturedGradients({ captured, gradient }: NetworkTensors): ShapedGradient[] {
  return captured.flatMap((parameter) => {
    const stored = gradient(parameter);
    return stored ? [{ parameter, data: stored.data, shape: stored.shape }] : [];
  });
}

/**
 * What rounding and noise alone leave of the certificate, relative as it is: one and a half times the expected norm of
 * the noise, never below {@link CERTAIN}.
 */
export function certificateFloor(
  task: Pick<ReconstructionTask, 'head' | 'shape' | 'absoluteError'>,
  { tensors }: Pick<Prepared, 'tensors'>,
): number {
  const { noise, roundoff } = numberErrorsOf(task);
  return noise === 0
    ? Math.max(CERTAIN, roundoff)
    : Math.max(CERTAIN, NOISE_MARGIN * relativeNoise({ tensors }, noise));
}

/** What the gradients err by, relatively: their rounding, or noise where that is more. @param noise standard deviation of each number */
export function errorOfGradients(prepared: Pick<Prepared, 'tensors'>, roundoff: number, noise: number): number {
  return noise === 0 ? roundoff : Math.max(roundoff, relativeNoise(prepared, noise));
}

/** A noise's standard deviation against the root mean square of the gradients. */
function relativeNoise({ tensors }: Pick<Prepared, 'tensors'>, noise: number): number {
  let squares = 0;
  let count = 0;
  for (const { data } of capturedGradients(tensors)) {
    squares += squaredNorm(data);
    count += data.length;
  }
  return (noise * Math.sqrt(count)) / Math.sqrt(squares);
}

/**
 * An input of the closed form is exact when it expects that of itself too; the other methods expect nothing, so rounding
 * is all that their certificate may leave, whatever the noise.
 *
 * @param floor what rounding and noise alone leave of the certificate
 */
export function verdictOf(
  { gradientError, expectedError, method, sizeOpen, worst, mostOfLayer: most }: Omit<Found, 'input'>,
  floor: number,
): ReconstructionReport['verdict'] {
  if (!(gradientError <= Math.max(CLOSE, floor)) || (worst && worst.error > most)) {
    return 'uncertain';
  }
  const isExact =
    gradientError <= floor &&
    (worst?.error ?? 0) <= Math.max(EXACT_LAYER, floor) &&
    !sizeOpen &&
    (method === 'chain' ? expectedError !== null && expectedError <= PRECISE : gradientError <= CERTAIN);
  return isExact ? 'exact' : 'close';
}

/** The better verdict, then the smaller misfit: one that is confirmed is not given up for one that fits better and is not. */
export function isBetter(one: Found, other: Found | undefined, floor: number): boolean {
  if (!other) {
    return true;
  }
  const [rank, rankOfOther] = [one, other].map((found) => VERDICTS.indexOf(verdictOf(found, floor))) as [
    number,
    number,
  ];
  return rank === rankOfOther
    ? one.gradientError < other.gradientError || Number.isNaN(other.gradientError)
    : rank < rankOfOther;
}

/** The best first. */
const VERDICTS: readonly ReconstructionReport['verdict'][] = ['exact', 'close', 'uncertain', 'failed'];

/**
 * One to three sentences on the verdict.
 *
 * @param floor what rounding and noise alone leave of the certificate
 * @param notes sentences on where methods ended early
 */
export function reasonOf(
  verdict: ReconstructionReport['verdict'],
  best: Pick<Found, 'gradientError' | 'worst' | 'mostOfLayer' | 'sizeOpen'> | undefined,
  floor: number,
  notes: readonly string[],
  stopped: boolean,
): string {
  const parts: string[] = [];
  if (best) {
    const error = best.gradientError.toExponential(1);
    const isOfLayer = best.gradientError <= Math.max(CLOSE, floor) && best.worst && best.worst.error > best.mostOfLayer;
    const inLayer = isOfLayer
      ? `, and that of \`${best.worst.weight}\` alone by ${best.worst.error.toExponential(1)}`
      : '';
    parts.push(
      {
        exact: `The gradient computed from it matches the captured one to ${error}, so this is the input.`,
        close:
          best.sizeOpen && best.gradientError <= Math.min(floor, CERTAIN)
            ? `The gradient computed from it matches the captured one to ${error}, so this is the input, up to one factor.`
            : `The gradient computed from it differs from the captured one by ${error} (rounding and noise alone would leave ${floor.toExponential(0)}): much of it is real, details may not be.`,
        uncertain: `The gradient computed from it differs from the captured one by ${error}${inLayer}: this picture is not confirmed.`,
        failed: '',
      }[verdict],
    );
  }
  if (best?.sizeOpen) {
    parts.push('Batch normalisation in train mode all but hides the contrast of an input, which stays open.');
  }
  parts.push(...notes);
  if (stopped) {
    parts.push('It was stopped early; this is the best until then.');
  }
  return parts.join(' ') || 'Nothing was found.';
}
