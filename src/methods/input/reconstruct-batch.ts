import { performance } from 'node:perf_hooks';
import type { ReconstructionReport } from '../../protocol/report.js';
import type { BatchSample } from '../../recovery/batch/batch-result.js';
import { type BatchChainResult, walkLinearBatch } from '../../recovery/chain/linear-batch.js';
import { relativeDistance } from '../../recovery/chain/sums.js';
import { norm } from '../../recovery/vectors.js';
import { NAMES, nothingRebuilt } from '../reconstruction-report.js';
import type { HiddenSamples } from '../hidden-layer/hidden-samples.js';
import type { Context } from '../method.js';
import { SIZE_OPEN, verdictOfInput } from './batch-leak.js';
import { type BatchMaps, type MappedSample, batchMaps } from './batch-maps.js';
import { CERTAIN, CLOSE, PRECISE, RIGHT_NETWORK } from './certificate.js';
import { describeMaps } from './describe-maps.js';
import { type NetworkTask, type Prepared, describeNetwork, outputShapesOf, prepareAll } from './prepare.js';
import type { NetworkReconstruction } from './reconstruction-task.js';

/** From the labels and features of a whole batch to its inputs, where the network is fully connected. */

export interface BatchTask extends NetworkTask {
  readonly samples: readonly BatchSample[];
  /** Standard deviation of added noise per number of the gradient. */
  readonly noise: number;
  /** What a fully connected layer before the head tells of the batch, computed where it is asked for. */
  readonly hidden: () => Promise<HiddenSamples | undefined>;
}

/**
 * @returns one reconstruction per sample, in their order
 * @throws UnusableInputError when no candidate fits the checkpoint; CancelledError when stopped
 */
export async function reconstructBatch(task: BatchTask, context: Context): Promise<NetworkReconstruction[]> {
  const started = performance.now();
  if (task.network.candidates.every(({ recipe }) => recipe.layers.some(({ op }) => op === 'conv'))) {
    const maps = await batchMaps(task, task.noise, context, await task.hidden());
    if (maps && (maps.samples.length > 0 || maps.run.walk.steps.length > 0)) {
      return byMaps(task, maps);
    }
  }
  const { samples } = task;
  let best: { result: BatchChainResult; prepared: Prepared } | undefined;
  for (const prepared of prepareAll(task)) {
    const result = await walkLinearBatch(
      {
        recipe: prepared.candidate.recipe,
        head: prepared.head,
        inputShapes: [prepared.candidate.recipe.input, ...outputShapesOf(prepared)],
        parameter: prepared.tensors.parameter,
        gradient: prepared.tensors.gradient,
        samples: samples.map(({ feature, errorVector, label, coefficient }) => ({
          feature,
          errorVector,
          label: Float64Array.from(label.probabilities),
          coefficient,
        })),
        roundoff: task.head.roundoff,
        noise: task.noise,
      },
      async (layer) => {
        context.progress(`Solving ${layer}`, 0.5);
        await context.pause();
      },
    );
    if (!best || (result.inputs && !(best.result.gradientError <= result.gradientError))) {
      best = { result, prepared };
    }
    if (result.gradientError < RIGHT_NETWORK) {
      break;
    }
  }
  const { result, prepared } = best!;
  const seconds = (performance.now() - started) / 1000;
  const network = describeNetwork(task, prepared);
  const shares = sharesOfSize(
    samples.map(({ coefficient, errorVector, feature }) => coefficient * norm(errorVector) * norm(feature)),
  );
  return samples.map((sample, at) => {
    const input = result.gradientError < RIGHT_NETWORK ? result.inputs?.[at] : undefined;
    const expectedError = result.inputErrors[at] ?? null;
    const verdict = verdictOf(result.gradientError / (shares[at] ?? 0), input, expectedError, sample.multiplicity);
    return {
      input,
      stopped: false,
      engine: undefined,
      network,
      report: {
        file: null,
        preview: null,
        shape: [...prepared.candidate.recipe.input],
        method: input ? 'chain' : 'none',
        by: input ? NAMES.chain : '',
        verdict,
        reason: reasonOf(result, verdict, sample.multiplicity),
        gradientError: Number.isFinite(result.gradientError) ? result.gradientError : null,
        matchingLoss: null,
        expectedError,
        chain: result.layers.map((layer) => ({
          ...layer,
          op: 'linear' as const,
          rank: layer.unknowns,
          biasMisfit: null,
          inputError: expectedError ?? 0,
          converged: true,
        })),
        matching: null,
        seconds,
        ...(task.request.normalisation ? { normalisation: task.request.normalisation } : {}),
      },
    };
  });
}

/** Each part against the root of the sum of all squares; zeros where all are. */
function sharesOfSize(parts: readonly number[]): number[] {
  const all = Math.hypot(...parts);
  return parts.map((own) => (all > 0 ? own / all : 0));
}

/** Inputs told by their maps, each given to the sample whose feature it has. */
function byMaps(task: BatchTask, maps: BatchMaps): NetworkReconstruction[] {
  const { run, prepared, gradientError } = maps;
  const network = describeNetwork(task, prepared);
  const left = [...maps.samples];
  const described = describeMaps(run, prepared.candidate.recipe);
  return task.samples.map((sample, at) => {
    const off = ({ feature }: MappedSample): number => relativeDistance(feature, sample.feature);
    left.sort((one, other) => off(one) - off(other));
    const own = left[0] && off(left[0]) < SAME_FEATURE ? left.shift() : undefined;
    const verdict = own ? verdictOfInput(maps, own) : 'failed';
    return {
      input: own?.input,
      stopped: run.stopped,
      engine: run.engine,
      network,
      ...(at === 0 ? described : {}),
      report: {
        ...nothingRebuilt(
          own
            ? mapsReason(maps, own, verdict)
            : `No input was found that has this sample's feature${run.ended === undefined ? '' : `: feature maps ended at ${run.ended}`}.`,
        ),
        shape: [...prepared.candidate.recipe.input],
        ...(own
          ? {
              method: 'maps',
              by: NAMES.maps,
              verdict,
              gradientError,
              ...(maps.sizeOpen ? { sizeOpen: true as const } : {}),
            }
          : {}),
        seconds: maps.seconds,
        ...(task.request.normalisation ? { normalisation: task.request.normalisation } : {}),
      },
    };
  });
}

/** Features of one sample by the head and by its input agree to this, relatively. */
const SAME_FEATURE = 0.05;

function mapsReason(
  { gradientError, sizeOpen }: BatchMaps,
  { error, worst, mostOfLayer }: MappedSample,
  verdict: Verdict,
): string {
  if (verdict === 'uncertain' && gradientError !== null && error !== null) {
    const inLayer = error <= CLOSE && worst && worst.error > mostOfLayer ? worst : undefined;
    return `The gradient that all inputs found give together is the captured one up to ${gradientError.toExponential(1)}; against what this input adds to it itself that is ${error.toExponential(1)}${inLayer ? `, and ${inLayer.error.toExponential(1)} in \`${inLayer.weight}\`` : ''}, which does not confirm it.`;
  }
  if (gradientError === null || verdict === 'uncertain') {
    return `The gradient that all inputs found give together does not confirm them (${gradientError === null ? 'unknown' : gradientError.toExponential(1)} off): one of them at least is wrong.`;
  }
  return sizeOpen
    ? `The gradient that all inputs found give together is the captured one up to ${gradientError.toExponential(1)}. ${SIZE_OPEN}`
    : togetherReason(gradientError, verdict, 1);
}

type Verdict = ReconstructionReport['verdict'];

/** @param error misfit of all inputs together against what this sample adds itself */
function verdictOf(
  error: number,
  input: Float64Array | undefined,
  expectedError: number | null,
  multiplicity: number,
): Verdict {
  if (!input) {
    return 'failed';
  }
  const isPrecise = expectedError !== null && expectedError <= PRECISE && multiplicity === 1;
  return error <= CERTAIN && isPrecise ? 'exact' : error <= CLOSE ? 'close' : 'uncertain';
}

function reasonOf({ gradientError, stopped }: BatchChainResult, verdict: Verdict, multiplicity: number): string {
  if (stopped !== undefined) {
    return `The closed form ended at ${stopped}.`;
  }
  return togetherReason(gradientError, verdict, multiplicity);
}

function togetherReason(gradientError: number, verdict: Verdict, multiplicity: number): string {
  const error = gradientError.toExponential(1);
  return {
    exact: `The gradient that all inputs found give together is the captured one up to ${error}, so this is one of them.`,
    close: `The gradient that all inputs found give together differs from the captured one by ${error}${multiplicity > 1 ? `; this is the mean of ${multiplicity} inputs` : ': much of it is real, details may not be'}.`,
    uncertain: `The gradient that all inputs found give together differs from the captured one by ${error}: it does not confirm this.`,
    failed: `The inputs found would give another gradient (${error} off): the network is probably another one.`,
  }[verdict];
}
