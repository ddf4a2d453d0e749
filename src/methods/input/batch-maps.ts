import { performance } from 'node:perf_hooks';
import { evaluateWithProduct } from '../../graph/evaluate-with-product.js';
import { foldConstant } from '../../graph/evaluate.js';
import { TensorGraph, sizeOf } from '../../graph/tensor-graph.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import { buildNetwork } from '../../network/network-graph.js';
import { CancelledError } from '../../protocol/errors.js';
import { softmax } from '../../recovery/activation.js';
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
  type LayerError,
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
  /** The same of the layer that it explains worst. */
  readonly worstLayer: LayerError | undefined;
}

/** Probabilities outside of 0 to 1 by more than this belong to another scale of the loss. */
const IMPROBABLE = 1e-3;

/**
 * @param hidden what a fully connected layer before the head tells; without it, row spaces of convolutions begin
 * @returns undefined for networks without rectifiers
 * @throws UnusableInputError when no candidate fits the checkpoint; CancelledError when stopped before any map was found
 */
export async function batchMaps(
  task: NetworkTask,
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
  const labels = batch === run.walk.batch ? await labelsOf(prepared, features!, logits!, batch, product) : undefined;
  const fitted = labels
    ? await fittedTogether(
        { ...prepared, graph, net },
        x,
        { labels: labels.values, classes, features: undefined, scale: labels.scale, logitGradient: labels.delta },
        task.absoluteError,
        context,
      )
    : undefined;
  return {
    run: fitted?.stopped === true ? { ...run, stopped: true } : run,
    prepared,
    samples: inputs.map(({ values, residual }, b) => ({
      input: fitted ? sampleOf({ values: fitted.input }, b, batch) : values,
      feature: features!.slice(b * width, (b + 1) * width),
      label: labels?.values.slice(b * classes, (b + 1) * classes),
      residual,
      error: fitted?.own[b]?.gradientError ?? null,
      worstLayer: fitted?.own[b]?.worstLayer,
    })),
    gradientError: fitted?.gradientError ?? null,
    sizeOpen: fitted?.sizeOpen === true,
    seconds: seconds(),
  };
}

/** With dloss/dlogits as the head's gradient has it: labels of sure predictions are rounded. */
type KnownBatch = Known & { readonly logitGradient: Float64Array };

interface FittedTogether extends Found {
  /** Of each input, what it adds to the gradient itself being the measure; empty where all together do not fit. */
  readonly own: readonly Certificate[];
  readonly stopped?: boolean;
}

/** The certificate of all inputs together and of each, in the size that it is best in where normalisation hides that. */
async function fittedTogether(
  prepared: Prepared,
  input: Float64Array,
  known: KnownBatch,
  noise: number,
  context: Context,
): Promise<FittedTogether> {
  const certificate = await certify(prepared, input, known, noise);
  const unsized: Found = { input, method: 'maps', ...certificate, expectedError: null, mostOfLayer: mostOfLayer() };
  const isHidden = prepared.mode === 'train' && prepared.candidate.recipe.layers.some(({ op }) => op === 'batch-norm');
  const hidesSize = isHidden && certificate.gradientError < CLOSE;
  let found: Found = hidesSize ? { ...unsized, sizeOpen: true } : unsized;
  try {
    found = hidesSize ? await withFittedSize(prepared, unsized, known, noise, context) : unsized;
    return {
      ...found,
      own: found.gradientError <= CLOSE ? await ownCertificates(prepared, found.input, known, noise, context) : [],
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
 * @param noise standard deviation of each captured number
 */
async function ownCertificates(
  { graph, net, tensors }: Pick<Prepared, 'graph' | 'net' | 'tensors'>,
  x: Float64Array,
  known: KnownBatch,
  noise: number,
  context: Context,
): Promise<Certificate[]> {
  const captured = capturedGradients(tensors);
  const product = await pausingProduct(context);
  const gradientsOf = (logitGradient: Float64Array): Promise<Float64Array[]> =>
    evaluateWithProduct(simulatedGradients(graph, net, captured, { ...known, logitGradient }), { x }, product);
  const left = captured.map(({ data }) => Float64Array.from(data, (own) => -own));
  const sizes: number[][] = [];
  for (let from = 0; from < known.labels.length; from += known.classes) {
    const isOwn = (at: number): boolean => at >= from && at < from + known.classes;
    const parts = await gradientsOf(known.logitGradient.map((own, at) => (isOwn(at) ? own : 0)));
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
    worstLayer: worstLayer(captured, off, own, noise),
  }));
}

/** y = p - delta / c, where the head's gradient gives delta for the features that the inputs have. */
async function labelsOf(
  { candidate: { recipe }, head, tensors }: Prepared,
  features: Float64Array,
  logits: Float64Array,
  batch: number,
  product: ProductKernel,
): Promise<{ values: Float64Array; scale: number; delta: Float64Array } | undefined> {
  const classes = logits.length / batch;
  const place = convPlaceOf(recipe, head, [features.length / batch], [classes], tensors.gradient);
  const delta = place && (await deltaOf(place, features, batch, product));
  if (!delta || typeof delta === 'string') {
    return undefined;
  }
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
      return { values: values.map((own) => Math.min(Math.max(own, 0), 1)), scale, delta };
    }
  }
  return undefined;
}
