import { encodeMosaic, isImage } from '../../formats/write-picture.js';
import { UnusableInputError } from '../../protocol/errors.js';
import { walkChain } from '../../recovery/chain/chain.js';
import type { ChainResult } from '../../recovery/chain/chain-state.js';
import type { Known } from '../../recovery/matching/objective.js';
import { norm } from '../../recovery/vectors.js';
import type { Context } from '../method.js';
import { type Found, RIGHT_NETWORK, certify, mostOfLayer } from './certificate.js';
import { pausingProduct } from '../pausing-product.js';
import { type Prepared, outputShapesOf } from './prepare.js';
import { toBase64 } from './preview.js';
import { type ReconstructionTask, numberErrorsOf, precisionOf } from './reconstruction-task.js';

/** The closed form, tried on every network that fits names and shapes. */

/**
 * Every candidate's closed form until one explains the gradient; names alone do not tell an activation.
 *
 * @param prepared networks that fit, the most usual one first; at least one
 * @param known label of K numbers, feature of d, scale of the captured gradient
 * @returns the network taken, its layers' evidence, and its input (flat, in the network's normalised units) unless it
 * leaves more than half of a layer's gradient unexplained, which a best guess may
 * @throws UnusableInputError when a guessed network explains no noiseless gradient; CancelledError when stopped
 */
export async function chainAttack(
  task: ReconstructionTask,
  prepared: readonly Prepared[],
  known: Known,
  context: Context,
): Promise<{ chain: ChainResult | undefined; found: Found | undefined; prepared: Prepared }> {
  const product = await pausingProduct(context);
  let best: { chain: ChainResult; found: Found | undefined; prepared: Prepared } | undefined;
  for (const [index, own] of prepared.entries()) {
    const share = index / prepared.length;
    const chain = await walkChain(chainProblem(task, own), product, async ({ layer, done, of, latest }) => {
      context.progress(`Solving ${layer}`, share + (done + 0.5) / of / prepared.length, {
        sample: 0,
        method: 'chain',
        restart: 0,
        iteration: done,
        of,
        loss: null,
        secondsLeft: null,
        caption: 'Input of the layer solved last, channel by channel',
        preview: latest && isImage(latest.shape) ? toBase64(encodeMosaic(latest.values, latest.shape)) : null,
      });
      await context.pause();
    });
    const found = chain.input && {
      input: chain.input,
      method: 'chain' as const,
      ...(await certify(own, chain.input, known, numberErrorsOf(task))),
      mostOfLayer: mostOfLayer(),
      expectedError: chain.inputError ?? null,
    };
    if (best === undefined || isBetter({ chain, found }, best)) {
      best = { chain, found, prepared: own };
    }
    if (isCertified({ chain, found })) {
      break;
    }
  }
  if (task.isGuess) {
    return best!;
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
      advice: 'Give it as ONNX, Keras model or recipe.',
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

function chainProblem(task: ReconstructionTask, { candidate, net, tensors, head }: Prepared) {
  const { sample, shape, factors } = task;
  const precision = precisionOf(task);
  const u = factors.captured.map((value) => value / sample.scale);
  // The captured gradients are all this many times the ones of the loss.
  const perUnit = sample.scale / sample.scalar;
  const size = norm(u) * Math.abs(sample.scale);
  return {
    recipe: candidate.recipe,
    head,
    outputShapes: outputShapesOf({ net }),
    parameter: tensors.parameter,
    gradient: tensors.gradient,
    solution: {
      feature: sample.feature,
      featureError: sample.feature.map((value) =>
        Math.hypot((shape.noise * Math.abs(sample.scalar)) / size, precision.forward * value),
      ),
      delta: u.map((value) => value * perUnit),
      deltaError: u.map(() => shape.noise / Math.abs(sample.scalar)),
      scaleError: factors.scalar === undefined ? SCAN_ERROR : 0,
    },
    precision,
    ...(task.isGuess ? { mostUnexplained: Infinity } : {}),
  };
}

/** How far the scan's scalar may be off, relatively: the rounding of labels, larger for confident samples. */
const SCAN_ERROR = 1e-4;
