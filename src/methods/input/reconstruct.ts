import { performance } from 'node:perf_hooks';
import { CancelledError } from '../../protocol/errors.js';
import type { ChainLayerReport, EngineReport, MatchingReport } from '../../protocol/report.js';
import type { ChainResult } from '../../recovery/chain/chain-state.js';
import { NAMES } from '../reconstruction-report.js';
import type { Context } from '../method.js';
import { type Found, certificateFloor, reasonOf, verdictOf } from './certificate.js';
import { chainAttack } from './chain-attack.js';
import { matchingAttack } from './matching-attack.js';
import { describeNetwork, prepareAll } from './prepare.js';
import { type NetworkReconstruction, type ReconstructionTask, knownOf } from './reconstruction-task.js';

/** From a recovered label and feature to the input: the closed form where it applies, gradient matching elsewhere. */

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
      const walked = await chainAttack(task, prepared, known, context);
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
    const run = await matchingAttack(task, chosen, known, best?.input, context);
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
      by: best ? NAMES[best.method] : '',
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
