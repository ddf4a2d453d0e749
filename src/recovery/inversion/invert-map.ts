import type { Engine } from '../../engine/engine.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import type { TensorNode } from '../../graph/tensor-graph.js';
import { type Pause, isStop } from '../pause.js';
import { type Refinement, adamStart, refined } from './adam-runs.js';
import { descend } from './descent.js';
import { GaussNewton } from './gauss-newton.js';
import {
  type Inversion,
  type InversionLimits,
  type InversionProblem,
  type InversionProgress,
  SearchState,
  score,
} from './search-state.js';

/**
 * From what is known of the values inside a network back to its input: a forward problem of the layers below, far better
 * conditioned than matching gradients. Short Adam runs find the valley, Gauss-Newton its floor.
 */

/**
 * With gradients: of maxima that are nearly equal, values alone choose a wrong one where that fits beside others chosen wrongly;
 * gradients tell some of them, and each round more, the later ones colder and with shorter steps.
 */
const REFINEMENTS = [
  { steps: 1500, warm: 0.05, rate: 0.02 },
  { steps: 1500, warm: 0.05, rate: 0.01 },
  { steps: 800, warm: 0.02, rate: 0.005 },
  { steps: 800, warm: 0.01, rate: 0.003 },
  { steps: 800, warm: 0.005, rate: 0.003 },
] as const satisfies readonly Refinement[];
/** What leaves less begins at the second of them. */
const NOT_FAR = 0.02;
/** A round that leaves more of what was left is followed by a colder one. */
const WORTH_REPEATING = 0.8;
/** Further off, gradients lead nowhere. */
const NEAR = { residual: 0.3, contradicting: 0.6 } as const;
/** Share of the work that is left, that a start may take while it creeps. */
const CREEPING_SHARE = 0.5;

/**
 * @param limits when to begin nowhere else, and when to end with what there is
 * @param product for residuals in float64
 * @param pause after every step; stopping keeps the best so far
 * @throws EngineError when the engine does not take the graph
 */
export async function invertMap(
  problem: InversionProblem,
  engine: Engine,
  limits: InversionLimits,
  product: ProductKernel,
  pause: Pause<InversionProgress>,
): Promise<Inversion> {
  const state = new SearchState(problem, engine, limits, product, pause);
  try {
    await search(state);
    return { ...foundBy(state), spent: state.isSpent, stopped: false };
  } catch (error) {
    if (!isStop(error)) {
      throw error;
    }
    return { ...foundBy(state), spent: false, stopped: true };
  }
}

function foundBy({ best, isGood, isAtFloor }: SearchState): Omit<Inversion, 'spent' | 'stopped'> {
  return { ...best, settled: isGood, isAtFloor };
}

async function search(state: SearchState): Promise<void> {
  const { graph, input, stages, mismatch, begin } = state.problem;
  const solvers: GaussNewton[] = [];
  const last = stages.length - 1;
  try {
    for (const stage of stages) {
      solvers.push(await GaussNewton.of(graph, input, stage.output, state.engine));
    }
    if (begin) {
      state.share = state.work + CREEPING_SHARE * (state.limits.work - state.work);
      await descend(state, stages[last]!, solvers[last]!, begin, true);
      if (state.isGood) {
        return;
      }
    }
    for (let tried = 0; tried === 0 || (tried < state.limits.starts && !state.isLate); tried++) {
      state.share = state.work + CREEPING_SHARE * (state.limits.work - state.work);
      const start = await adamStart(state, stages[0]!);
      const descendAll = async (from: Float64Array): Promise<Float64Array> => {
        let x = from;
        for (const [at, stage] of stages.entries()) {
          x = await descend(state, stage, solvers[at]!, x, at === last);
        }
        return x;
      };
      await descendAll(start);
      if (mismatch) {
        await refineByRounds(state, mismatch, start, descendAll);
      }
      if (state.isGood) {
        return;
      }
    }
  } finally {
    await Promise.all(solvers.map((solver) => solver.dispose()));
  }
}

/** @param descendAll from an input to what is known */
async function refineByRounds(
  state: SearchState,
  mismatch: TensorNode,
  start: Float64Array,
  descendAll: (from: Float64Array) => Promise<Float64Array>,
): Promise<void> {
  let x = start;
  let round = state.best.residual < NOT_FAR ? 1 : 0;
  let left = state.problem.rounds ?? Infinity;
  for (; left > 0 && round < REFINEMENTS.length && isNear(state) && !state.isAtFloor && !state.isLate; left--) {
    const before = score(state.best);
    x = await descendAll(await refined(state, state.problem.stages[0]!, mismatch, x, REFINEMENTS[round]!));
    round += Number(score(state.best) > WORTH_REPEATING * before);
  }
}

function isNear({ best: { residual, contradicting } }: SearchState): boolean {
  return residual < NEAR.residual && contradicting < NEAR.contradicting;
}
