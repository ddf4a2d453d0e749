import { performance } from 'node:perf_hooks';
import { chooseEngine } from '../../engine/choose.js';
import { type TensorGraph, sizeOf, workOf } from '../../graph/tensor-graph.js';
import type { NetworkGraph } from '../../network/network-graph.js';
import type { EngineReport, MatchingReport } from '../../protocol/report.js';
import { type MatchingResult, type RestartRecord, matchGradients } from '../../recovery/matching/match.js';
import { type Known, matchingGraph } from '../../recovery/matching/objective.js';
import { type MatchingSettings, PRESETS } from '../../recovery/matching/presets.js';
import type { Context } from '../method.js';
import { type Found, capturedGradients, certify, mostOfLayer } from './certificate.js';
import { noEngine } from './no-engine.js';
import type { Prepared } from './prepare.js';
import { preview } from './preview.js';
import { type ReconstructionTask, numberErrorsOf } from './reconstruction-task.js';

/** Gradient matching on an engine: an input is searched whose simulated gradient is the captured one. */

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

/**
 * @param known label of K numbers, feature of d, scale of the captured gradient
 * @param start input to search from, flat, in the network's normalised units; undefined for random ones
 * @returns the best input found, undefined when no loss was finite, with the course of the search; `stopped` when the
 * user ended it, which keeps the best until then
 * @throws UnusableInputError when the asked engine does not work; CancelledError when stopped before the first step
 */
export async function matchingAttack(
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
  context.progress('Building the gradient-matching graph', 0);
  await context.pause();
  const step = matchingGraph(graph, net, feature, capturedGradients(tensors), known, wanted, tensors.parameter);
  const outputs = [step.loss, step.misfit, ...step.slopes];
  const work = workOf(outputs);
  context.progress('Choosing an engine', 0);
  const { engine, reasons } = await chooseEngine(request.engine, work, { tfjsFolder: request.tfjsFolder }).catch(
    noEngine,
  );
  context.progress(`Compiling for ${engine.description}`, 0);
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
    context.progress(`Gradient matching: ${total} iterations, about ${inWords((total * milliseconds) / 1000)}`, 0);
    const began = performance.now();
    let lastPreview = 0;
    let done = 0;
    const result = await matchGradients(
      { program, inputSize, labelSize, settings, ...(start ? { start } : {}) },
      async (state) => {
        done++;
        const now = performance.now();
        if (now - lastPreview > PREVIEW_EVERY_MS || done === 1) {
          lastPreview = now;
          const secondsLeft = (((now - began) / done) * (total - done)) / 1000;
          context.progress(
            `Gradient matching: iteration ${state.iteration} of ${state.of}, loss ${state.misfit.toExponential(2)}, ${inWords(secondsLeft)} left`,
            done / total,
            {
              sample: 0,
              method: 'matching',
              restart: state.restart,
              iteration: state.iteration,
              of: state.of,
              loss: state.misfit,
              secondsLeft,
              caption: 'So far',
              preview: preview(state.x, candidate.recipe.input, request),
            },
          );
        }
        await context.pause();
      },
    );
    const labels = finalLabels(result, known);
    const found = Number.isFinite(result.misfit)
      ? {
          input: result.x,
          method: 'matching' as const,
          ...(await certify(prepared, result.x, { ...known, labels }, numberErrorsOf(task), engine)),
          expectedError: null,
          mostOfLayer: mostOfLayer(),
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

function inWords(seconds: number): string {
  return seconds < 90
    ? `${Math.max(1, Math.round(seconds))} s`
    : seconds < 5400
      ? `${Math.round(seconds / 60)} min`
      : `${(seconds / 3600).toFixed(1)} h`;
}
