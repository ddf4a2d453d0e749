import type { Fact } from '../../facts/facts.js';
import { HEAD_GRADIENT, HEAD_SHAPE } from '../../facts/head-facts.js';
import { CAPTURE, UPDATE } from '../../facts/update.js';
import { type RecoveredHead, recoverHead } from './recover-head.js';

/** Labels, features and counts as the head's gradient gives them; undefined without a head. */
export const RECOVERY: Fact<RecoveredHead | undefined> = {
  id: 'recovery',
  async compute(facts) {
    const [head, shape] = [await facts.get(HEAD_GRADIENT), await facts.get(HEAD_SHAPE)];
    const { kind } = await facts.get(UPDATE);
    if (!head || !shape) {
      return undefined;
    }
    const { request, hooks } = facts.given;
    const capture = await facts.get(CAPTURE).catch(() => undefined);
    const recovered = await recoverHead(request, hooks, head.gradient, shape, {
      isDifference: kind === 'difference',
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

function hidden(noise: number): string {
  return `The head's numbers cannot be told from noise of standard deviation ${noise.toPrecision(2)}. Either noise hides the gradient from every method here, or this is no gradient; nothing in the file tells which.`;
}
