import { performance } from 'node:perf_hooks';
import { chooseEngine } from '../../engine/choose.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import { sizeOf, workOf } from '../../graph/tensor-graph.js';
import type { ReconstructionRequest } from '../../protocol/audit-request.js';
import type { EngineReport } from '../../protocol/report.js';
import { invertMap } from '../../recovery/inversion/invert-map.js';
import type { Inversion, InversionProblem } from '../../recovery/inversion/search-state.js';
import type { Context } from '../method.js';
import { noEngine } from './no-engine.js';
import { preview } from './preview.js';

/** One inversion after the other on one engine, with previews of where each stands. */

export interface InversionPlan {
  /** Share of the method's work that is done before. */
  readonly from: number;
  /** Random inputs that each begins at, before the best is taken. */
  readonly starts: number;
  /** Multiplications for all together. */
  readonly work: number;
  /** Whether none is begun once time is up, or each is tried for a moment. */
  readonly endsWhenLate: boolean;
  /** What is being computed, without its end. */
  readonly message: (sample: number, residual: number) => string;
}

export interface Inversions {
  /** In the problems' order, as far as it came. */
  readonly found: readonly Inversion[];
  readonly engine: EngineReport;
  /** Whether it ended before all were begun, as time was up. */
  readonly isLate: boolean;
  /** The user stopped it; the last one found is what it had. */
  readonly stopped: boolean;
}

const PREVIEW_EVERY_MS = 350;

/**
 * @param problems at least one; each is made when its turn comes, as many graphs take much memory
 * @throws UnusableInputError when the asked engine does not work
 */
export async function invertInputs(
  request: ReconstructionRequest,
  problems: readonly (() => InversionProblem)[],
  plan: InversionPlan,
  product: ProductKernel,
  context: Context,
): Promise<Inversions> {
  context.progress('Choosing an engine', plan.from);
  const first = problems[0]!();
  const work = workOf(first.stages.map(({ output }) => output));
  const { engine, reasons } = await chooseEngine(request.engine, work, { tfjsFolder: request.tfjsFolder }).catch(
    noEngine,
  );
  const until = performance.now() + 1000 * request.timeLimitSeconds;
  const isLate = (): boolean => performance.now() > until;
  const found: Inversion[] = [];
  let stopped = false;
  try {
    let lastPreview = 0;
    for (const [sample, make] of problems.entries()) {
      if (stopped || (plan.endsWhenLate && isLate())) {
        break;
      }
      const problem = sample === 0 ? first : make();
      const shape = problem.input.shape.slice(1);
      const own = await invertMap(
        problem,
        engine,
        { starts: plan.starts, work: plan.work / problems.length, isLate },
        product,
        async ({ step, residual, input }) => {
          const now = performance.now();
          if (now - lastPreview > PREVIEW_EVERY_MS) {
            lastPreview = now;
            context.progress(
              plan.message(sample, residual),
              plan.from + ((1 - plan.from) * (sample + 0.5)) / problems.length,
              {
                sample,
                method: 'maps',
                restart: 0,
                iteration: step,
                of: step,
                loss: residual,
                secondsLeft: null,
                caption: 'So far',
                preview: preview(input.subarray(0, sizeOf(shape)), shape, request),
              },
            );
          }
          await context.pause();
        },
      );
      found.push(own);
      stopped = own.stopped;
    }
  } finally {
    await engine.dispose();
  }
  return {
    found,
    engine: { id: engine.id, description: engine.description, reasons: [...reasons] },
    isLate: !stopped && found.length < problems.length,
    stopped,
  };
}
