import { performance } from 'node:perf_hooks';
import { CancelledError } from '../../protocol/errors.js';
import type { ChainLayerReport, EngineReport, MatchingReport } from '../../protocol/report.js';
import type { ChainResult } from '../../recovery/chain/chain-state.js';
import { NAMES } from '../reconstruction-report.js';
import type { Context } from '../method.js';
import type { Known } from '../../recovery/matching/objective.js';
import {
  CLOSE,
  type Found,
  RIGHT_NETWORK,
  certificateFloor,
  certify,
  isBetter,
  mostOfLayer,
  reasonOf,
  errorOfGradients,
  verdictOf,
  withFittedSize,
} from './certificate.js';
import { chainAttack } from './chain-attack.js';
import { describeMaps } from './describe-maps.js';
import { type MapsRun, hasRectifiers, mapsAttack } from './maps-attack.js';
import { matchingAttack } from './matching-attack.js';
import { type Prepared, describeNetwork, prepareAll } from './prepare.js';
import {
  type NetworkReconstruction,
  type ReconstructionTask,
  knownOf,
  numberErrorsOf,
  precisionOf,
} from './reconstruction-task.js';

/**
 * From a recovered label and feature to the input: the closed form where it applies, feature maps down a network of
 * rectifiers, gradient matching elsewhere.
 */

/**
 * @throws UnusableInputError when no candidate fits the checkpoint, or the asked engine does not work;
 * CancelledError when stopped before anything was found
 */
export async function reconstruct(task: ReconstructionTask, context: Context): Promise<NetworkReconstruction> {
  const started = performance.now();
  const { request } = task;
  const prepared = prepareAll(task);
  const known = knownOf(task);
  const notes: string[] = [];
  let chain: ChainResult | undefined;
  let maps: MapsRun | undefined;
  let best: Found | undefined;
  let chosen = prepared[0]!;
  let engine: EngineReport | undefined;
  let stopped = false;
  let matching: MatchingReport | null = null;
  let matchingLoss: number | null = null;
  const isExact = (): boolean => best !== undefined && verdictOf(best, certificateFloor(task, chosen)) === 'exact';
  try {
    if (request.attack !== 'matching') {
      const walked = await chainAttack(task, prepared, known, within(context, 0, CHAIN_ENDS));
      chain = walked.chain;
      best = walked.found;
      chosen = walked.prepared;
      notes.push(...(chain?.stopped === undefined ? [] : [`The closed form ended at ${chain.stopped}.`]));
      const attempt =
        isExact() || (task.isGuess === true && best !== undefined)
          ? undefined
          : await singleMaps(task, prepared, known, within(context, CHAIN_ENDS, MAPS_END));
      if (attempt) {
        maps = attempt.run;
        ({ engine, stopped } = maps);
        notes.push(...(maps.ended === undefined ? [] : [`Feature maps ended at ${maps.ended}.`]));
        if (attempt.found && isBetter(attempt.found, best, certificateFloor(task, attempt.prepared))) {
          best = attempt.found;
          chosen = attempt.prepared;
        }
      }
    }
  } catch (error) {
    if (!(error instanceof CancelledError)) {
      throw error;
    }
    stopped = true;
  }
  if (!stopped && !isExact() && (request.attack === 'matching' || request.attack === 'auto')) {
    const run = await matchingAttack(
      task,
      chosen,
      known,
      best?.input,
      within(context, maps ? MAPS_END : CHAIN_ENDS, 1),
    );
    ({ matching, engine, stopped } = run);
    if (run.found && isBetter(run.found, best, certificateFloor(task, chosen))) {
      best = run.found;
      matchingLoss = run.loss;
    }
  }
  const isHidden = chosen.mode === 'train' && chosen.candidate.recipe.layers.some(({ op }) => op === 'batch-norm');
  if (best && isHidden && best.gradientError < CLOSE && !stopped) {
    try {
      best = await withFittedSize(chosen, best, known, numberErrorsOf(task), context);
    } catch (error) {
      if (!(error instanceof CancelledError)) {
        throw error;
      }
      best = { ...best, sizeOpen: true };
      stopped = true;
    }
  }
  const floor = certificateFloor(task, chosen);
  const verdict = best ? verdictOf(best, floor) : 'failed';
  return {
    input: best?.input,
    stopped,
    engine,
    network: describeNetwork(task, chosen),
    ...(maps ? describeMaps(maps, chosen.candidate.recipe) : {}),
    report: {
      file: null,
      preview: null,
      shape: [...chosen.candidate.recipe.input],
      method: best?.method ?? 'none',
      by: best ? NAMES[best.method] : '',
      verdict,
      reason: reasonOf(verdict, best, floor, best?.method === 'maps' ? [] : notes, stopped),
      gradientError: best?.gradientError ?? null,
      ...(best?.worst ? { worstLayer: best.worst } : {}),
      matchingLoss,
      ...(best?.sizeOpen ? { sizeOpen: true as const } : {}),
      expectedError: best?.expectedError ?? null,
      chain: (chain?.layers ?? []).map((layer): ChainLayerReport => ({ ...layer })),
      matching,
      seconds: (performance.now() - started) / 1000,
      ...(request.normalisation ? { normalisation: request.normalisation } : {}),
    },
  };
}

/** Of the progress, where the closed form and the feature maps end: what follows them takes longest by far. */
const CHAIN_ENDS = 0.1;
const MAPS_END = 0.25;

/** The same, its progress being a part of this. */
function within(context: Context, from: number, to: number): Context {
  return {
    ...context,
    progress: (message, share, preview) => {
      context.progress(message, from + (to - from) * share, preview);
    },
    pause: () => context.pause(),
  };
}

/** Every network with rectifiers until one's input explains the gradient; undefined where there is none. */
async function singleMaps(
  task: ReconstructionTask,
  prepared: readonly Prepared[],
  known: Known,
  context: Context,
): Promise<{ run: MapsRun; found: Found | undefined; prepared: Prepared } | undefined> {
  const { sample } = task;
  const { stored, noise } = precisionOf(task);
  const solution = {
    batch: 1,
    features: sample.feature,
    delta: task.factors.captured.map((value) => value / sample.scalar),
  };
  let best: { run: MapsRun; found: Found | undefined; prepared: Prepared } | undefined;
  for (const own of prepared.filter(hasRectifiers)) {
    const error = errorOfGradients(own, stored, noise);
    const run = await mapsAttack({ ...task, solution, error }, own, context);
    const [input] = run.inputs;
    const found = input && {
      input: input.values,
      method: 'maps' as const,
      ...(await certify(own, input.values, known, numberErrorsOf(task))),
      mostOfLayer: mostOfLayer(input.basis),
      expectedError: null,
    };
    const attempt = { run, found, prepared: own };
    if (!best || (found && isBetter(found, best.found, certificateFloor(task, own)))) {
      best = attempt;
    }
    const isRight =
      found &&
      found.gradientError < RIGHT_NETWORK &&
      (found.worst?.error ?? 0) < Math.max(RIGHT_NETWORK, found.mostOfLayer);
    if (run.stopped || isRight) {
      break;
    }
  }
  return best;
}
