import { performance } from 'node:perf_hooks';
import { evaluateWithProduct } from '../../graph/evaluate-with-product.js';
import { foldConstant } from '../../graph/evaluate.js';
import { TensorGraph, sizeOf } from '../../graph/tensor-graph.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import { buildNetwork } from '../../network/network-graph.js';
import { CancelledError } from '../../protocol/errors.js';
import type { LayerError } from '../../protocol/report.js';
import { softmax } from '../../recovery/activation.js';
import { FLOAT32_ROUNDOFF } from '../../recovery/head-gradient.js';
import { type Known, simulatedGradients } from '../../recovery/matching/objective.js';
import { joined, norm } from '../../recovery/vectors.js';
import { convPlaceOf } from '../../recovery/walk/conv-place.js';
import { deltaOf } from '../../recovery/walk/deltas.js';
import { sampleOf } from '../../recovery/walk/walk-state.js';
import type { HiddenSamples } from '../hidden-layer/hidden-samples.js';
import type { Context } from '../method.js';
import {
  CLOSE,
  type Certificate,
  type Found,
  capturedGradients,
  certify,
  errorOfGradients,
  mostOfLayer,
  withFittedSize,
  worstLayer,
} from './certificate.js';
import { type MapsRun, hasRectifiers, mapsAttack } from './maps-attack.js';
import { pausingProduct } from '../pausing-product.js';
import { type NetworkTask, type Prepared, prepareAll } from './prepare.js';
import type { NumberErrors } from './reconstruction-task.js';

/**
 * All inputs of a batch from the row spaces of its layers' gradients, without a word from the head: not the loss, not
 * the labels, not how many samples there are. Labels follow from the inputs then.
 */

export interface BatchMaps {
  readonly run: MapsRun;
  readonly prepared: Prepared;
  /** One for each sample, in an order of their own. */
  readonly samples: readonly MappedSample[];
  /** ||simulated - captured|| / ||captured|| of all inputs together; null when not all were found. */
  readonly gradientError: number | null;
  /** Whether normalisation hides the size that all inputs have in common. */
  readonly sizeOpen: boolean;
  readonly seconds: number;
}

export interface MappedSample {
  readonly input: Float64Array;
  /** Input of the head: d. */
  readonly feature: Float64Array;
  /** y, K; undefined when the head's gradient does not tell it. */
  readonly label: Float64Array | undefined;
  /** What its own maps leave unexplained, relative. */
  readonly residual: number;
  /**
   * What the gradient of all inputs together leaves of the captured one, against what this input adds to it itself: a sample predicted
   * surely adds so little that all may fit without it. Null where not all were found.
   */
  readonly error: number | null;
  /** The same of the layer that it explains worst, beyond noise. */
  readonly worst: LayerError | undefined;
  /** What that may leave for the input to be close. */
  readonly mostOfLayer: number;
}

/** Probabilities outside of 0 to 1 by more than this belong to another scale of the loss. */
const IMPROBABLE = 1e-3;

/** Rounding of p - y where p is all but one, in a network of float32. */
const LOGIT_ROUNDING = 4 * FLOAT32_ROUNDOFF;
/** In unit roundoffs of the largest number: what dloss/dlogits errs by where the gradient's numbers are rounded. */
const OWN_ROUNDING = 8;

/**
 * @param noise standard deviation of each captured number
 * @param hidden what a fully connected layer before the head tells; without it, row spaces of convolutions begin
 * @returns undefined for networks without rectifiers
 * @throws UnusableInputError when no candidate fits the checkpoint; CancelledError when stopped before any map was found
 */
export async function batchMaps(
  task: NetworkTask,
  noise: number,
  context: Context,
  hidden?: HiddenSamples,
): Promise<BatchMaps | undefined> {
  const started = performance.now();
  const prepared = prepareAll(task).find(hasRectifiers);
  if (!prepared) {
    return undefined;
  }
  const error = errorOfGradients(prepared, task.head.roundoff, task.absoluteError);
  const run = await mapsAttack({ ...task, solution: undefined, hidden, error }, prepared, context);
  const seconds = (): number => (performance.now() - started) / 1000;
  const inputs = run.inputs.flatMap((input) => input ?? []);
  if (inputs.length === 0) {
    return { run, prepared, samples: [], gradientError: null, sizeOpen: false, seconds: seconds() };
  }
  const batch = inputs.length;
  const { candidate, head, tensors, mode } = prepared;
  const product = await pausingProduct(context);
  const graph = new TensorGraph(foldConstant);
  const net = buildNetwork(graph, candidate.recipe, tensors.parameter, batch, mode ?? 'eval');
  const x = joined(inputs.map(({ values }) => values));
  const below = graph.reshape(net.outputs[head - 1]!, [batch, sizeOf(net.outputs[head - 1]!.shape.slice(1))]);
  const [features, logits] = await evaluateWithProduct([below, net.logits], { x }, product);
  const classes = task.head.weight.rows;
  const width = features!.length / batch;
  const labels =
    batch === run.walk.batch
      ? await labelsOf(prepared, features!, logits!, batch, task.head.roundoff, product)
      : undefined;
  const fitted = labels
    ? await fittedTogether(
        { ...prepared, graph, net },
        x,
        {
          labels: labels.values,
          classes,
          features: undefined,
          scale: labels.scale,
          logitGradients: labels.logitGradients,
        },
        { noise, roundoff: task.head.roundoff, underflow: task.head.underflow },
        context,
      )
    : undefined;
  return {
    run: fitted?.stopped === true ? { ...run, stopped: true } : run,
    prepared,
    samples: inputs.map(({ values, residual, basis }, b) => ({
      input: fitted ? sampleOf({ values: fitted.input }, b, batch) : values,
      feature: features!.slice(b * width, (b + 1) * width),
      label: labels?.values.slice(b * classes, (b + 1) * classes),
      residual,
      error: fitted?.own[b]?.gradientError ?? null,
      worst: fitted?.own[b]?.worst,
      mostOfLayer: mostOfLayer(basis),
    })),
    gradientError: fitted?.gradientError ?? null,
    sizeOpen: fitted?.sizeOpen === true,
    seconds: seconds(),
  };
}

interface FittedTogether extends Found {
  /** Of each input, what it adds to the gradient itself being the measure; empty where all together do not fit. */
  readonly own: readonly Certificate[];
  readonly stopped?: boolean;
}

/** The certificate of all inputs together and of each, in the size that it is best in where normalisation hides that. */
async function fittedTogether(
  prepared: Prepared,
  input: Float64Array,
  known: Known,
  errors: NumberErrors,
  context: Context,
): Promise<FittedTogether> {
  const certificate = await certify(prepared, input, known, errors);
  const unsized: Found = { input, method: 'maps', ...certificate, expectedError: null, mostOfLayer: mostOfLayer() };
  const isHidden = prepared.mode === 'train' && prepared.candidate.recipe.layers.some(({ op }) => op === 'batch-norm');
  const hidesSize = isHidden && certificate.gradientError < CLOSE;
  let found: Found = hidesSize ? { ...unsized, sizeOpen: true } : unsized;
  try {
    found = hidesSize ? await withFittedSize(prepared, unsized, known, errors, context) : unsized;
    return {
      ...found,
      own: found.gradientError <= CLOSE ? await ownCertificates(prepared, found.input, known, errors, context) : [],
    };
  } catch (error) {
    if (!(error instanceof CancelledError)) {
      throw error;
    }
    return { ...found, own: [], stopped: true };
  }
}

/**
 * For each sample, ||simulated - captured|| of all inputs together against the norm of the gradient of its own loss alone; the losses
 * add up, whatever the normalisation.
 *
 * @param x of all inputs, flat
 * @param errors of the captured numbers
 */
async function ownCertificates(
  { graph, net, tensors }: Pick<Prepared, 'graph' | 'net' | 'tensors'>,
  x: Float64Array,
  known: Known,
  errors: NumberErrors,
  context: Context,
): Promise<Certificate[]> {
  const captured = capturedGradients(tensors);
  const product = await pausingProduct(context);
  const gradientsOf = (sample: number): Promise<Float64Array[]> => {
    const labels = known.labels.map((own, at) => (Math.floor(at / known.classes) === sample ? own : 0));
    const logitGradients = known.logitGradients?.map((own, at) => (at === sample ? own : undefined));
    return evaluateWithProduct(
      simulatedGradients(graph, net, captured, { ...known, labels, logitGradients }),
      { x },
      product,
    );
  };
  const left = captured.map(({ data }) => Float64Array.from(data, (own) => -own));
  const sizes: number[][] = [];
  for (let sample = 0; sample * known.classes < known.labels.length; sample++) {
    const parts = await gradientsOf(sample);
    parts.forEach((part, tensor) => {
      part.forEach((own, at) => {
        left[tensor]![at]! += own;
      });
    });
    sizes.push(parts.map(norm));
  }
  const off = left.map(norm);
  return sizes.map((own) => ({
    gradientError: Math.hypot(...off) / Math.hypot(...own),
    worst: worstLayer(captured, off, own, errors),
  }));
}

/**
 * y = p - delta / c, where the head's gradient gives delta for the features that the inputs have; and delta itself for samples predicted
 * so surely that no label between 0 and 1 gives it but for the rounding of p - y.
 */
async function labelsOf(
  { candidate: { recipe }, head, tensors }: Prepared,
  features: Float64Array,
  logits: Float64Array,
  batch: number,
  roundoff: number,
  product: ProductKernel,
): Promise<(Pick<Known, 'scale' | 'logitGradients'> & { values: Float64Array }) | undefined> {
  const classes = logits.length / batch;
  const place = convPlaceOf(recipe, head, [features.length / batch], [classes], tensors.gradient);
  const delta = place && (await deltaOf(place, features, batch, product));
  return delta && typeof delta !== 'string' ? labelsFrom(delta, logits, batch, roundoff) : undefined;
}

/**
 * @param delta dloss/dlogits, batch x K
 * @param logits batch x K
 * @param roundoff of the gradient's numbers
 * @returns undefined where no labels between 0 and 1 give it, neither under a mean nor under a sum over the batch
 */
export function labelsFrom(
  delta: Float64Array,
  logits: Float64Array,
  batch: number,
  roundoff: number,
): (Pick<Known, 'scale' | 'logitGradients'> & { values: Float64Array }) | undefined {
  const classes = logits.length / batch;
  const told: { values: Float64Array; scale: number; isClosest: boolean }[] = [];
  // A mean over the batch, or a sum.
  for (const scale of [1, batch]) {
    const values = new Float64Array(batch * classes);
    for (let b = 0; b < batch; b++) {
      const p = softmax(logits.slice(b * classes, (b + 1) * classes));
      p.forEach((own, k) => {
        values[b * classes + k] = own - (delta[b * classes + k]! * batch) / scale;
      });
    }
    if (values.every((own) => own > -IMPROBABLE && own < 1 + IMPROBABLE)) {
      const clipped = values.map((own) => Math.min(Math.max(own, 0), 1));
      const most =
        LOGIT_ROUNDING + OWN_ROUNDING * roundoff * Math.max(...delta.map((own) => (Math.abs(own) * batch) / scale));
      told.push({
        values: clipped,
        scale,
        isClosest: misfitsOf(clipped, delta, logits, batch, scale).every((own) => own <= most),
      });
    }
  }
  // Labels just above one under the one scale may be whole under the other.
  const chosen = told.find(({ isClosest }) => isClosest) ?? told[0];
  return (
    chosen && {
      values: chosen.values,
      scale: chosen.scale,
      logitGradients: roundedOf(chosen.values, delta, logits, batch, chosen.scale),
    }
  );
}

/** How far delta is from p sum(y) - y, of each sample the entry that is furthest off. */
function misfitsOf(
  labels: Float64Array,
  delta: Float64Array,
  logits: Float64Array,
  batch: number,
  scale: number,
): number[] {
  const classes = labels.length / batch;
  return Array.from({ length: batch }, (_, b) => {
    const part = (values: Float64Array): Float64Array => values.slice(b * classes, (b + 1) * classes);
    const [y, own] = [part(labels), part(delta)];
    const whole = y.reduce((sum, value) => sum + value, 0);
    return softmax(part(logits)).reduce(
      (most, p, k) => Math.max(most, Math.abs((own[k]! * batch) / scale - (whole * p - y[k]!))),
      0,
    );
  });
}

/** delta of the samples from whose p sum(y) - y it differs by the rounding of that. */
export function roundedOf(
  labels: Float64Array,
  delta: Float64Array,
  logits: Float64Array,
  batch: number,
  scale: number,
): (Float64Array | undefined)[] {
  const classes = labels.length / batch;
  return misfitsOf(labels, delta, logits, batch, scale).map((misfit, b) =>
    misfit <= LOGIT_ROUNDING ? delta.slice(b * classes, (b + 1) * classes) : undefined,
  );
}
