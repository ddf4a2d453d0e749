import type { Fact, Facts } from '../../facts/facts.js';
import { HEAD_GRADIENT, HEAD_SHAPE } from '../../facts/head-facts.js';
import { CAPTURE, UPDATE } from '../../facts/update.js';
import { type RecoveredHead, recoverHead } from './recover-head.js';

/** Labels, features and counts as the head's gradient gives them; undefined without a head. */
export const RECOVERY: Fact<RecoveredHead | undefined> = {
  id: 'recovery',
  async compute(facts) {
    const [head, shape] = [await facts.get(HEAD_GRADIENT), await facts.get(HEAD_SHAPE)];
    const { kind, steps } = await facts.get(UPDATE);
    if (!head || !shape) {
      return undefined;
    }
    const { request, hooks } = facts.given;
    const capture = await facts.get(CAPTURE).catch(() => undefined);
    const recovered = await recoverHead(request, hooks, head.gradient, shape, {
      isDifference: kind === 'difference',
      isOneStep: kind !== 'difference' || steps === 1,
      statedSize: request.batchSize ?? capture?.batchSize,
    });
    return shape.nature === 'hidden' && kind === 'unknown'
      ? { ...recovered, unassessed: recovered.unassessed ?? hidden(shape.noise) }
      : recovered;
  },
  describe: (recovered) =>
    recovered
      ? {
          samples: recovered.samples.map(({ status, method, confidence, residual, residualFloor, label }) => ({
            status,
            method,
            confidence,
            residual,
            residualFloor,
            kind: label.kind,
          })),
          complete: recovered.complete,
          batch: recovered.batch,
          unassessed: recovered.unassessed ?? null,
        }
      : null,
};

/**
 * The same facts, or those of the opposite sign: where nothing conclusive tells a difference's sign, it is the one with which
 * the checkpoint explains labels, and the other does not. Where both do, as with two classes, nothing is relied on.
 */
export async function withTurnedSign(facts: Facts): Promise<Facts> {
  const update = await facts.get(UPDATE);
  const { kind, sign, signToldBy, reasons } = update;
  const isOpen = kind === 'difference' && (signToldBy === null || signToldBy === 'labels');
  const recovered = isOpen ? await facts.get(RECOVERY) : undefined;
  if (!recovered || recovered.cancelled !== undefined) {
    return facts;
  }
  const reason = 'The checkpoint explains labels with this sign only, so it was turned.';
  const turned = facts.with(UPDATE, {
    ...update,
    sign: sign === 1 ? -1 : 1,
    signToldBy: 'recovery',
    reasons: [...reasons.filter((own) => !SIGN_REASON.test(own)), reason],
  });
  if (isUnexplained(await turned.get(RECOVERY))) {
    return facts;
  }
  return isUnexplained(recovered) ? turned : facts.with(RECOVERY, { ...recovered, unassessed: EITHER_SIGN });
}

const EITHER_SIGN =
  'The sign of this difference is not known, and labels can be computed with either: those of one sign are wrong, so neither are shown. Give the weights before and after as two files.';

const SIGN_REASON = /^(The sign is not known|Rounding leaves the sign open)/;

function isUnexplained(recovered: RecoveredHead | undefined): boolean {
  return recovered !== undefined && recovered.cancelled === undefined && recovered.unassessed !== undefined;
}

function hidden(noise: number): string {
  return `The head's numbers cannot be told from noise of standard deviation ${noise.toPrecision(2)}. Either noise hides the gradient from every method here, or this is no gradient; nothing in the file tells which.`;
}
