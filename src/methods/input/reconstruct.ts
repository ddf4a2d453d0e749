import { performance } from 'node:perf_hooks';
import { CancelledError, UnusableInputError } from '../../protocol/errors.js';
import type { ReconstructionRequest } from '../../protocol/audit-request.js';
import type {
  ChainLayerReport,
  EngineReport,
  MatchingReport,
  NetworkReport,
  ReconstructionReport,
} from '../../protocol/report.js';
import { chooseEngine } from '../../engine/choose.js';
import { doubleProduct } from '../../engine/double-product.js';
import { type Engine, EngineError, type ProductKernel } from '../../engine/engine.js';
import type { TensorFile } from '../../formats/tensor-file.js';
import { evaluate, foldConstant } from '../../graph/evaluate.js';
import { type TensorData, TensorGraph, sizeOf, workOf } from '../../graph/tensor-graph.js';
import type { Candidate } from '../../network/built-in.js';
import {
  type StoredTensor,
  type NetworkGraph,
  type NormMode,
  RecipeError,
  buildNetwork,
} from '../../network/network-graph.js';
import { detectNormMode } from '../../network/norm-mode.js';
import type { Recipe } from '../../network/recipe.js';
import { type ChainResult, type Precision, walkChain } from '../../recovery/chain/chain.js';
import { plainProduct } from '../../recovery/cholesky.js';
import type { HeadFactors } from '../../recovery/head-factors.js';
import { FLOAT32_ROUNDOFF, type GradientShape, type HeadGradient } from '../../recovery/head-gradient.js';
import { norm } from '../../recovery/linear-algebra.js';
import { type MatchingResult, type RestartRecord, matchGradients } from '../../recovery/matching/match.js';
import {
  type CapturedGradient,
  type Known,
  matchingGraph,
  simulatedGradients,
} from '../../recovery/matching/objective.js';
import { type MatchingSettings, PRESETS } from '../../recovery/matching/presets.js';
import type { RecoveredSample } from '../../recovery/single-sample.js';
import type { Matching } from '../../facts/matching.js';
import type { Context, Reconstruction } from '../method.js';
import { type NetworkTensors, networkTensors } from './network-tensors.js';
import type { NetworkSource } from './network-source.js';
import { encodeMosaic, encodePicture, isImage } from '../../formats/write-picture.js';

/** From a recovered label and feature to the input: the closed form where it applies, gradient matching elsewhere. */

/** What it takes to put a network together and compare it with its gradient. */
export interface NetworkTask {
  readonly request: ReconstructionRequest;
  readonly network: NetworkSource;
  readonly checkpoint: TensorFile;
  readonly gradients: TensorFile;
  readonly matching: Matching;
  readonly headWeight: string;
  readonly head: HeadGradient;
  readonly normMode: NormMode | undefined;
}

export interface ReconstructionTask extends NetworkTask {
  readonly shape: GradientShape;
  readonly factors: HeadFactors;
  readonly sample: RecoveredSample;
  /** Only for `labels: 'true'`, which is research. */
  readonly trueLabel: readonly number[] | undefined;
}

export interface NetworkReconstruction extends Reconstruction {
  readonly network: NetworkReport;
  readonly engine: EngineReport | undefined;
  /** True when the user stopped it; the best so far is here. */
  readonly stopped: boolean;
}

/** A candidate network that fits its checkpoint, ready to be computed. */
export interface Prepared {
  readonly candidate: Candidate;
  readonly graph: TensorGraph;
  readonly net: NetworkGraph;
  readonly tensors: NetworkTensors;
  readonly head: number;
  readonly mode: NormMode | null;
}

interface Found {
  readonly input: Float64Array;
  readonly method: 'chain' | 'matching';
  readonly gradientError: number;
  readonly expectedError: number | null;
}

/** Float64 loops are taken for certificates up to this many multiplications. */
const LOOPS_UP_TO = 3e8;
/** A certificate below this is as good as rounding lets it be. */
export const CERTAIN = 1e-4;

/**
 * @throws UnusableInputError when no candidate fits the checkpoint, or the asked engine does not work;
 * CancelledError when stopped before anything was found
 */
export async function reconstruct(task: ReconstructionTask, context: Context): Promise<NetworkReconstruction> {
  const started = performance.now();
  const { request } = task;
  const prepared = prepareAll(task);
  const known = knownOf(task);
  let chain: ChainResult | undefined;
  let best: Found | undefined;
  let chosen = prepared[0]!;
  let stopped = false;
  let chainNote: string | undefined;
  try {
    if (request.attack !== 'matching') {
      const walked = await tryChain(task, prepared, known, context);
      chain = walked.chain;
      best = walked.found;
      chosen = walked.prepared;
      chainNote = chain?.stopped;
    }
  } catch (error) {
    if (!(error instanceof CancelledError)) {
      throw error;
    }
    stopped = true;
  }
  const floor = certificateFloor(task, chosen);
  const exact = best !== undefined && verdictOf(best, floor) === 'exact';
  let matching: MatchingReport | null = null;
  let matchingLoss: number | null = null;
  let engine: EngineReport | undefined;
  if (!stopped && !exact && (request.attack === 'matching' || request.attack === 'auto')) {
    const run = await runMatching(task, chosen, known, best?.input, context);
    ({ matching, engine, stopped } = run);
    if (run.found && (best === undefined || run.found.gradientError < best.gradientError)) {
      best = run.found;
      matchingLoss = run.loss;
    }
  }
  const verdict = best ? verdictOf(best, floor) : 'failed';
  return {
    input: best?.input,
    stopped,
    engine,
    network: describeNetwork(task, chosen),
    report: {
      file: null,
      preview: null,
      shape: [...chosen.candidate.recipe.input],
      method: best?.method ?? 'none',
      verdict,
      reason: reasonOf(verdict, best, floor, chainNote, stopped),
      gradientError: best?.gradientError ?? null,
      matchingLoss,
      expectedError: best?.expectedError ?? null,
      chain: (chain?.layers ?? []).map((layer): ChainLayerReport => ({ ...layer })),
      matching,
      seconds: (performance.now() - started) / 1000,
      ...(request.normalisation ? { normalisation: request.normalisation } : {}),
    },
  };
}

/** @throws UnusableInputError when no candidate fits; its message is the first one's */
export function prepareAll(task: NetworkTask): Prepared[] {
  const failures: string[] = [];
  const prepared: Prepared[] = [];
  const cache = new Map<string, StoredTensor>();
  for (const candidate of task.network.candidates) {
    try {
      prepared.push(prepare(task, candidate, cache));
    } catch (error) {
      if (!(error instanceof RecipeError)) {
        throw error;
      }
      failures.push(error.message);
    }
  }
  if (prepared.length === 0) {
    throw new UnusableInputError({
      code: 'bad-network',
      file: task.network.file ?? task.checkpoint.path,
      found: failures[0] ?? 'no network',
      expected: `layers that fit the tensors of ${task.checkpoint.path}`,
      advice:
        task.network.file === null
          ? 'Give the network with --model (ONNX, Keras or a recipe), or the input size with --input-shape.'
          : 'Correct the file, or give another with --model.',
    });
  }
  return prepared;
}

function prepare(task: NetworkTask, candidate: Candidate, cache: Map<string, StoredTensor>): Prepared {
  const tensors = networkTensors(
    candidate.recipe,
    task.checkpoint,
    task.gradients,
    task.matching,
    task.network.own,
    cache,
  );
  const mode = task.normMode ?? detectNormMode(candidate.recipe, tensors.parameter, tensors.gradient);
  const graph = new TensorGraph(foldConstant);
  const net = buildNetwork(graph, candidate.recipe, tensors.parameter, 1, mode ?? 'eval');
  const head = headIndex(candidate.recipe, task.headWeight);
  if (head === undefined) {
    throw new RecipeError(`no layer of the network uses the head "${task.headWeight}"`);
  }
  if (net.logits.shape[1] !== task.head.weight.rows) {
    throw new RecipeError(
      `the network gives out ${net.logits.shape[1] ?? 0} numbers for ${task.head.weight.rows} classes`,
    );
  }
  return { candidate, graph, net, tensors, head, mode };
}

function headIndex({ layers }: Recipe, weight: string): number | undefined {
  const same = (name: string): boolean => name === weight || weight.endsWith(`.${name}`) || name.endsWith(`.${weight}`);
  const index = layers.findLastIndex(
    (layer) => layer.op === 'linear' && same(layer.weight.replaceAll('/', '.').replace(/:0$/, '')),
  );
  const slashed = layers.findLastIndex(
    (layer) => layer.op === 'linear' && weight.replace(/:0$/, '').endsWith(layer.weight),
  );
  const found = Math.max(index, slashed);
  return found < 0 ? undefined : found;
}

function knownOf({ sample, head, request, trueLabel }: ReconstructionTask): Known {
  const labels = request.settings?.labels ?? PRESETS[request.preset].labels;
  let probabilities = sample.label.probabilities;
  if (labels === 'true') {
    if (!trueLabel) {
      throw new UnusableInputError({
        code: 'bad-arguments',
        file: 'command line',
        found: 'true labels asked for, and none given',
        expected: 'a truth file with "labels"',
        advice: 'Give it with --truth, or take --labels recovered.',
      });
    }
    probabilities = Float64Array.from(trueLabel);
  }
  if (labels === 'hard') {
    const top = probabilities.indexOf(probabilities.reduce((most, own) => Math.max(most, own), -Infinity));
    probabilities = probabilities.map((_, index) => (index === top ? 1 : 0));
  }
  return { labels: probabilities, classes: head.weight.rows, features: sample.feature, scale: sample.scale };
}

function precisionOf({ head, shape }: ReconstructionTask): Precision {
  return {
    // Networks compute in float32 unless the gradient shows more digits; half types round only what is stored.
    forward: Math.min(FLOAT32_ROUNDOFF, Math.max(head.roundoff, 2 ** -53)),
    stored: head.roundoff,
    noise: shape.nature === 'single-noisy' ? shape.noise : 0,
  };
}

/** Every candidate's closed form until one explains the gradient; names alone do not tell an activation. */
async function tryChain(
  task: ReconstructionTask,
  prepared: readonly Prepared[],
  known: Known,
  context: Context,
): Promise<{ chain: ChainResult | undefined; found: Found | undefined; prepared: Prepared }> {
  const native: ProductKernel = await doubleProduct().catch(() => plainProduct);
  const product: ProductKernel = async (...args) => {
    await context.pause();
    return native(...args);
  };
  let best: { chain: ChainResult; found: Found | undefined; prepared: Prepared } | undefined;
  for (const [index, own] of prepared.entries()) {
    const share = index / prepared.length;
    const chain = await walkChain(chainProblem(task, own), {
      product,
      async layer(name, done, of, values) {
        context.progress(`Solving ${name}`, (share + (done + 0.5) / of / prepared.length) * 0.5, {
          sample: 0,
          method: 'chain',
          restart: 0,
          iteration: done,
          of,
          loss: null,
          secondsLeft: null,
          preview: values && isImage(values.shape) ? toBase64(encodeMosaic(values.values, values.shape)) : null,
        });
        await context.pause();
      },
    });
    const found = chain.input && {
      input: chain.input,
      method: 'chain' as const,
      gradientError: await certify(own, chain.input, known),
      expectedError: chain.inputError ?? null,
    };
    if (best === undefined || isBetter({ chain, found }, best)) {
      best = { chain, found, prepared: own };
    }
    if (isCertified({ chain, found })) {
      break;
    }
  }
  refuseWrongNetwork(task, prepared, best!);
  // An image of what is probably another network is no start for anything.
  return best!.found && unexplained(best!) > MOST_UNCERTIFIED ? { ...best!, found: undefined } : best!;
}

/** Names and shapes were a guess; without noise, a network that leaves gradients unexplained is another one. */
function refuseWrongNetwork(task: ReconstructionTask, prepared: readonly Prepared[], best: Walked): void {
  const tested = best.chain.layers.length > 0;
  if (task.network.file === null && tested && precisionOf(task).noise === 0 && unexplained(best) > RIGHT_NETWORK) {
    throw new UnusableInputError({
      code: 'bad-network',
      file: task.checkpoint.path,
      found: `names and shapes of ${prepared.length} known networks, none of which explains the gradient (the best leaves ${(100 * unexplained(best)).toPrecision(2)} % of a layer's)`,
      expected: 'the network that the gradient was computed with',
      advice: 'Give it with --model as ONNX, Keras model or recipe.',
    });
  }
}

/** Above this, noise or a wrong network has taken over. */
const MOST_UNCERTIFIED = 0.5;

interface Walked {
  readonly chain: ChainResult;
  readonly found: Found | undefined;
}

/** A certified image first; then the network whose layers explain their gradients. */
function isBetter(one: Walked, other: Walked): boolean {
  if (isCertified(one) !== isCertified(other)) {
    return isCertified(one);
  }
  return unexplained(one) < unexplained(other);
}

/** A wrong network's image explains less than this of the gradient, a right one's more, whatever the noise. */
export const RIGHT_NETWORK = 0.05;

function isCertified(walked: Walked): boolean {
  return walked.found !== undefined && unexplained(walked) < RIGHT_NETWORK;
}

/**
 * The worst of all layers: a head's large gradient would hide a layer that does not fit. Below a layer whose input is
 * only roughly known, a residual says nothing of the network any more.
 */
function unexplained({ chain, found }: Walked): number {
  const [first] = chain.layers;
  const rough = chain.layers.findIndex(({ inputError }) => inputError > ROUGH);
  const telling = rough < 0 ? chain.layers : chain.layers.slice(0, rough + 1);
  const certificate = rough < 0 ? (found?.gradientError ?? 0) : 0;
  return Math.max(first ? (first.biasMisfit ?? 0) : 1, certificate, ...telling.map(({ residual }) => residual));
}

/** Root mean square error of a layer's input, in units of its values, that later layers cannot be judged by. */
const ROUGH = 1e-2;

/** Shape of each layer's input, one sample. */
export function inputShapesOf({ candidate, net }: Pick<Prepared, 'candidate' | 'net'>): number[][] {
  return candidate.recipe.layers.map((_, index) => (index === 0 ? net.input : net.outputs[index - 1]!).shape.slice(1));
}

function chainProblem(task: ReconstructionTask, { candidate, net, tensors, head }: Prepared) {
  const { sample, shape, factors } = task;
  const precision = precisionOf(task);
  const { u } = sample.problem;
  const size = norm(u);
  return {
    recipe: candidate.recipe,
    head,
    inputShapes: inputShapesOf({ candidate, net }),
    parameter: tensors.parameter,
    gradient: tensors.gradient,
    solution: {
      feature: sample.feature,
      featureError: sample.feature.map((value) =>
        Math.hypot((shape.noise * Math.abs(sample.scalar)) / size, precision.forward * value),
      ),
      delta: u.map((value) => value / sample.scalar),
      deltaError: u.map(() => shape.noise / Math.abs(sample.scalar)),
      scaleError: factors.scalar === undefined ? SCAN_ERROR : 0,
    },
    precision,
  };
}

/** How far the scan's scalar may be off, relatively: the rounding of labels, larger for confident samples. */
const SCAN_ERROR = 1e-4;

/** ||simulated - captured|| / ||captured|| of an input, under its label. */
async function certify(
  { graph, net, tensors }: Prepared,
  x: Float64Array,
  known: Known,
  engine?: Engine,
): Promise<number> {
  const captured = capturedGradients(tensors);
  const slopes = simulatedGradients(graph, net, captured, known);
  if (!engine || workOf(slopes) < LOOPS_UP_TO) {
    return relativeDistance(evaluate(slopes, { x }), captured);
  }
  const program = await engine.compile(slopes);
  try {
    return relativeDistance(await program.run({ x }), captured);
  } finally {
    await program.dispose();
  }
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

function capturedGradients({ captured, gradient }: NetworkTensors): CapturedGradient[] {
  return captured.flatMap((parameter) => {
    const stored = gradient(parameter);
    return stored ? [{ parameter, data: stored.data }] : [];
  });
}

/** What rounding and noise alone leave of the certificate. */
function certificateFloor(task: ReconstructionTask, { tensors }: Prepared): number {
  const { stored, noise } = precisionOf(task);
  if (noise === 0) {
    return Math.max(CERTAIN, stored);
  }
  let squares = 0;
  let count = 0;
  for (const { data } of capturedGradients(tensors)) {
    squares += squaredNorm(data);
    count += data.length;
  }
  return Math.max(CERTAIN, (1.5 * noise * Math.sqrt(count)) / Math.sqrt(squares));
}

/** Gradients of this much error can still belong to a recognisable image. */
export const CLOSE = 0.01;
/** In units of normalised inputs, whose deviation is one: about one of 256 grey levels. */
export const PRECISE = 0.02;

function verdictOf({ gradientError, expectedError, method }: Found, floor: number): ReconstructionReport['verdict'] {
  if (
    gradientError <= floor &&
    (method === 'matching' ? gradientError <= CERTAIN : expectedError !== null && expectedError <= PRECISE)
  ) {
    return 'exact';
  }
  return gradientError <= Math.max(CLOSE, floor) ? 'close' : 'uncertain';
}

function reasonOf(
  verdict: ReconstructionReport['verdict'],
  best: Found | undefined,
  floor: number,
  chainNote: string | undefined,
  stopped: boolean,
): string {
  const parts: string[] = [];
  if (best) {
    const error = best.gradientError.toExponential(1);
    parts.push(
      {
        exact: `Its simulated gradient is the captured one up to ${error}, so this is the input.`,
        close: `Its simulated gradient differs from the captured one by ${error} (rounding and noise alone would leave ${floor.toExponential(0)}): much of it is real, details may not be.`,
        uncertain: `Its simulated gradient differs from the captured one by ${error}: the gradient does not confirm this picture.`,
        failed: '',
      }[verdict],
    );
  }
  if (chainNote !== undefined) {
    parts.push(`The closed form ended at ${chainNote}.`);
  }
  if (stopped) {
    parts.push('It was stopped early; this is the best until then.');
  }
  return parts.join(' ') || 'Nothing was found.';
}

interface MatchingRun {
  readonly found: Found | undefined;
  readonly loss: number | null;
  readonly matching: MatchingReport | null;
  readonly engine: EngineReport;
  readonly stopped: boolean;
}

/** Steps that are timed before the rest is planned. */
const TRIAL_STEPS = 3;
const PREVIEW_EVERY_MS = 350;
const LBFGS_EVALUATIONS = 20;

async function runMatching(
  task: ReconstructionTask,
  prepared: Prepared,
  known: Known,
  start: Float64Array | undefined,
  context: Context,
): Promise<MatchingRun> {
  const { request } = task;
  const { graph, net, tensors, candidate, head } = prepared;
  const wanted: MatchingSettings = { ...PRESETS[request.preset], ...request.settings };
  const feature = head === 0 ? undefined : flatFeature(graph, net, head);
  context.progress('Building the gradient-matching graph', 0.5);
  await context.pause();
  const step = matchingGraph(graph, net, feature, capturedGradients(tensors), known, wanted, tensors.parameter);
  const outputs = [step.loss, step.misfit, ...step.slopes];
  const work = workOf(outputs);
  context.progress('Choosing an engine', 0.5);
  const { engine, reasons } = await chooseEngine(request.engine, work, { tfjsFolder: request.tfjsFolder }).catch(
    (error: unknown) => {
      throw error instanceof EngineError ? noEngine(error) : error;
    },
  );
  context.progress(`Compiling for ${engine.description}`, 0.5);
  await context.pause();
  const program = await engine.compile(outputs);
  try {
    const inputSize = sizeOf(candidate.recipe.input);
    const labelSize = wanted.labels === 'free' ? known.classes : 0;
    const trial = { x: new Float64Array(inputSize), y: new Float64Array(labelSize) };
    let startedAt = performance.now();
    for (let at = 0; at <= TRIAL_STEPS; at++) {
      if (at === 1) {
        // The first run prepares and is not typical.
        startedAt = performance.now();
      }
      await program.run(trial);
      await context.pause();
    }
    const evaluations = wanted.optimiser === 'lbfgs' ? LBFGS_EVALUATIONS : 1;
    const milliseconds = ((performance.now() - startedAt) / TRIAL_STEPS) * evaluations;
    const affordable = Math.floor((1000 * request.timeLimitSeconds) / milliseconds / wanted.restarts);
    const settings = { ...wanted, iterations: Math.max(1, Math.min(wanted.iterations, affordable)) };
    const total = settings.iterations * settings.restarts;
    context.progress(`Gradient matching: ${total} iterations, about ${inWords((total * milliseconds) / 1000)}`, 0.5);
    const began = performance.now();
    let lastPreview = 0;
    let done = 0;
    const result = await matchGradients(
      { program, inputSize, labelSize, settings, ...(start ? { start } : {}) },
      {
        async step(state) {
          done++;
          const now = performance.now();
          if (now - lastPreview > PREVIEW_EVERY_MS || done === 1) {
            lastPreview = now;
            const secondsLeft = (((now - began) / done) * (total - done)) / 1000;
            context.progress(
              `Gradient matching: iteration ${state.iteration} of ${state.of}, loss ${state.misfit.toExponential(2)}, ${inWords(secondsLeft)} left`,
              0.5 + (0.5 * done) / total,
              {
                sample: 0,
                method: 'matching',
                restart: state.restart,
                iteration: state.iteration,
                of: state.of,
                loss: state.misfit,
                secondsLeft,
                preview: preview(state.x, candidate.recipe.input, request),
              },
            );
          }
          return context.pause().then(
            () => true,
            (error: unknown) => {
              if (error instanceof CancelledError) {
                return false;
              }
              throw error;
            },
          );
        },
      },
    );
    const labels = finalLabels(result, known);
    const found = Number.isFinite(result.misfit)
      ? {
          input: result.x,
          method: 'matching' as const,
          gradientError: await certify(prepared, result.x, { ...known, labels }, engine),
          expectedError: null,
        }
      : undefined;
    return {
      found,
      loss: Number.isFinite(result.misfit) ? result.misfit : null,
      stopped: result.stopped,
      engine: { id: engine.id, description: engine.description, reasons: [...reasons] },
      matching: {
        preset: request.preset,
        distance: settings.distance,
        terms: settings.terms,
        labels: settings.labels,
        optimiser: settings.optimiser,
        iterations: settings.iterations,
        done,
        millisecondsPerIteration: (performance.now() - began) / Math.max(done, 1),
        curves: result.restarts.map(describeCurve),
      },
    };
  } finally {
    await program.dispose();
    await engine.dispose();
  }
}

function noEngine(error: EngineError): UnusableInputError {
  return new UnusableInputError({
    code: 'no-engine',
    file: 'engine',
    found: error.message,
    expected: 'an engine that computes',
    advice: 'Run "gradleak doctor" to see which engines work here and what the others need.',
  });
}

/** Input of the head as one row per sample. */
function flatFeature(graph: TensorGraph, net: NetworkGraph, head: number) {
  const output = net.outputs[head - 1]!;
  return graph.reshape(output, [output.shape[0]!, sizeOf(output.shape.slice(1))]);
}

function finalLabels({ labelLogits }: MatchingResult, known: Known): Float64Array {
  if (!labelLogits) {
    return known.labels;
  }
  const top = labelLogits.reduce((most, own) => Math.max(most, own), -Infinity);
  const weights = labelLogits.map((own) => Math.exp(own - top));
  const sum = weights.reduce((all, own) => all + own, 0);
  return weights.map((own) => own / sum);
}

function describeCurve({ curve }: RestartRecord): { iteration: number[]; loss: number[] } {
  return { iteration: curve.map(({ iteration }) => iteration), loss: curve.map(({ misfit }) => misfit) };
}

/** Previews larger than this would slow the panel down. */
const MAX_PREVIEW_BYTES = 200_000;

function preview(x: Float64Array, shape: readonly number[], { normalisation }: ReconstructionRequest): string | null {
  if (!isImage(shape)) {
    return null;
  }
  return toBase64(encodePicture(x, shape, normalisation));
}

function toBase64(png: Uint8Array): string | null {
  return png.length <= MAX_PREVIEW_BYTES ? Buffer.from(png).toString('base64') : null;
}

function inWords(seconds: number): string {
  return seconds < 90
    ? `${Math.max(1, Math.round(seconds))} s`
    : seconds < 5400
      ? `${Math.round(seconds / 60)} min`
      : `${(seconds / 3600).toFixed(1)} h`;
}

export function describeNetwork({ network, request }: NetworkTask, { candidate, mode }: Prepared): NetworkReport {
  const normed = candidate.recipe.layers.some(({ op }) => op === 'batch-norm');
  const reasons = [...network.reasons];
  if (network.candidates.length > 1) {
    reasons.push(
      request.attack === 'matching'
        ? `${network.candidates.length} networks fit these names and shapes; "${candidate.name}", the most usual one, was taken`
        : `${network.candidates.length} networks fit these names and shapes; "${candidate.name}" was taken: its simulated gradient comes nearest`,
    );
  }
  if (normed && mode !== null) {
    reasons.push(
      `batch normalisation ran in ${mode} mode: filters and their gradients are ${mode === 'train' ? '' : 'not '}orthogonal`,
    );
  }
  return {
    source: network.source,
    file: network.file,
    name: candidate.name,
    inputShape: [...candidate.recipe.input],
    layers: candidate.recipe.layers.length,
    normMode: normed ? (mode ?? 'eval') : null,
    reasons,
  };
}
