import { performance } from 'node:perf_hooks';
import { DIRECTED } from '../../facts/directed-update.js';
import type { Facts } from '../../facts/facts.js';
import { normalisationFor } from '../../facts/capture.js';
import { CAPTURE } from '../../facts/update.js';
import { floorOf } from '../../recovery/vit/judge-patches.js';
import { RECOVERY } from '../head/recovery.js';
import { type Method, type MethodResult, READABLE, type Reconstruction } from '../method.js';
import { pausingProduct } from '../pausing-product.js';
import { NAMES } from '../reconstruction-report.js';
import { embeddingPairs, hasPatchEmbedding } from './embedding-tensors.js';
import { type PatchesToTell, patchesLeak } from './patches-leak.js';
import { type PatchPicture, pictureOfPatches } from './picture-of-patches.js';
import { type RecoveredPatches, recoverPatches } from './recover-patches.js';

/** The image that a vision transformer saw, from the gradients of its patch embedding and of its position embedding alone. */
export const vitPatches: Method = {
  id: 'vit-patches',
  title: 'The image from the embeddings of a vision transformer',
  assumes:
    'every patch is added to its own row of the position embedding, as in the published networks, and that the gradient is of one image.',
  cites: null,
  cost: 's',
  needs: 'gradient',
  kinds: READABLE,
  applies({ given: { gradients } }) {
    if (embeddingPairs(gradients).length > 0) {
      return Promise.resolve(true);
    }
    return Promise.resolve(hasPatchEmbedding(gradients) ? NO_POSITIONS : null);
  },
  async run(facts, context) {
    const started = performance.now();
    const reasons: string[] = [];
    let isTried = false;
    const product = await pausingProduct(context);
    const hasCheckpoint = facts.given.request.checkpoint !== undefined;
    const absoluteError = hasCheckpoint ? (await facts.get(DIRECTED)).absoluteError : 0;
    for (const pair of embeddingPairs(facts.given.gradients)) {
      context.progress(`Solving for the patches of ${pair.weight.name}`, 0);
      const recovered = await recoverPatches(facts.given.gradients, pair, product, () => context.pause(), {
        absoluteError,
        isGuess: facts.given.guess !== undefined,
      });
      if (typeof recovered === 'string') {
        reasons.push(recovered);
      } else if (recovered.verdict === 'exact' || recovered.verdict === 'close') {
        return found(facts, recovered, recovered.verdict, (performance.now() - started) / 1000);
      } else if (facts.given.guess) {
        return found(facts, recovered, 'uncertain', (performance.now() - started) / 1000);
      } else {
        isTried = true;
        reasons.unshift(whyNot(recovered));
      }
    }
    return { outcome: isTried ? 'nothing' : 'not-applicable', detail: reasons[0] ?? NO_POSITIONS, leaks: [] };
  },
};

const NO_POSITIONS =
  'A patch embedding has a gradient and no position embedding of its width has one: it is frozen, made of sines and cosines, or there is none.';

function whyNot({ position, weight, bias, solved, verdict, roundoff }: RecoveredPatches): string {
  const { residual, expectedError, spread } = solved;
  const short = (value: number): string => value.toExponential(0);
  const left = `\`${weight.name}\` leaves ${short(residual)} where one sample would leave ${short(floorOf(roundoff))}`;
  switch (verdict) {
    case 'batch':
      return `The gradient is a sum of several samples, or holds weight decay: \`${position.name}\` fits ${bias ? `\`${bias.name}\`` : 'the class token'}, as it does for any number of them, but ${left}. Sums do not tell whose patch is whose, so no image is shown.`;
    case 'unfit':
      return `The gradient is not that of one sample at \`${position.name}\`: ${left}. It is of several samples, or noise was added.`;
    default:
      return `Rounding or noise in \`${position.name}\` and \`${weight.name}\` hides the image: the expected error is ${short(expectedError)}, and its numbers would spread by ${short(spread)}.`;
  }
}

/** Other channels than these are of a layer before the patch embedding, unless the input is known to have them. */
const CHANNELS_OF_IMAGES = [1, 3, 4];

async function found(
  facts: Facts,
  recovered: RecoveredPatches,
  verdict: 'exact' | 'close' | 'uncertain',
  seconds: number,
): Promise<MethodResult> {
  const { reconstruction } = facts.given.request;
  const capture = await facts.get(CAPTURE);
  const input = reconstruction?.inputShape ?? capture?.inputShape;
  const normalisation = normalisationFor(reconstruction, capture);
  const channels = recovered.kernel?.[0];
  const isInput = channels === undefined || CHANNELS_OF_IMAGES.includes(channels) || channels === input?.[0];
  const picture = pictureOfPatches(recovered, input, facts.given.guess !== undefined);
  const isSample = picture !== undefined && isInput && (await isOneSample(facts));
  const told: PatchesToTell = {
    recovered,
    verdict,
    picture,
    normalisation,
    sample: isSample ? 0 : null,
    isInput,
  };
  return {
    outcome: 'found',
    detail: 'The gradients of the patch embedding and of the position embedding tell the image together.',
    leaks: [patchesLeak(told)],
    ...(isSample ? { inputs: [asInput(told, picture, seconds)] } : {}),
  };
}

/** Whether the head tells one sample, whose input this then is. */
async function isOneSample(facts: Facts): Promise<boolean> {
  if (facts.given.request.checkpoint === undefined) {
    return false;
  }
  if (facts.given.guess) {
    // Told by the undefended update, which is the only one that is guessed for.
    return true;
  }
  const recovered = await facts.get(RECOVERY);
  return recovered?.unassessed === undefined && recovered?.single !== undefined && recovered.samples.length === 1;
}

function asInput(
  { recovered: { solved, roundoff }, verdict, normalisation }: PatchesToTell,
  { shape, values }: PatchPicture,
  seconds: number,
): Reconstruction {
  const { residual, expectedError } = solved;
  return {
    input: values,
    report: {
      file: null,
      preview: null,
      shape: [...shape],
      method: 'patches',
      by: NAMES.patches,
      verdict,
      reason: `The equations of its patches leave ${residual.toExponential(1)}, where rounding leaves ${floorOf(roundoff).toExponential(1)}.`,
      gradientError: null,
      matchingLoss: null,
      expectedError,
      chain: [],
      matching: null,
      seconds,
      ...(normalisation ? { normalisation } : {}),
    },
  };
}
