import type { Program } from '../../engine/engine.js';
import { gaussian } from '../gaussian.js';
import { generator } from '../paper-method.js';
import { type Objective, adam, lbfgs } from './optimisers.js';
import type { MatchingSettings } from './presets.js';
import { type Pause, isStop } from '../pause.js';

/** Gradient matching: optimises inputs (and free labels) until their gradients are the captured ones. */

export interface MatchingProblem {
  /** Outputs: loss, misfit, dloss/dx, and dloss/dy when labels are free. */
  readonly program: Program;
  readonly inputSize: number;
  /** Free label logits: batch x classes numbers; 0 when labels are fixed. */
  readonly labelSize: number;
  readonly settings: MatchingSettings;
  /** Where the first restart begins, instead of noise; what the closed form could tell. */
  readonly start?: Float64Array;
}

export interface MatchingState {
  readonly restart: number;
  readonly iteration: number;
  readonly of: number;
  readonly loss: number;
  readonly misfit: number;
  /** Best input of this restart so far. */
  readonly x: Float64Array;
}

export interface RestartRecord {
  /** Misfit at about evenly spaced iterations. */
  readonly curve: { readonly iteration: number; readonly misfit: number }[];
  best: number;
}

export interface MatchingResult {
  readonly x: Float64Array;
  /** Logits of free labels. */
  readonly labelLogits: Float64Array | undefined;
  readonly misfit: number;
  readonly restarts: readonly RestartRecord[];
  /** The user stopped it, and this is the best so far. */
  readonly stopped: boolean;
}

const CURVE_POINTS = 200;

/**
 * The best of all restarts, by misfit and never by a known truth.
 *
 * @param pause after every step; stopping keeps the best so far
 */
export async function matchGradients(problem: MatchingProblem, pause: Pause<MatchingState>): Promise<MatchingResult> {
  const { settings, inputSize, labelSize } = problem;
  const records: RestartRecord[] = [];
  let best = { misfit: Infinity, point: new Float64Array(inputSize + labelSize) };
  let stopped = false;
  for (let restart = 0; restart < settings.restarts && !stopped; restart++) {
    const record: RestartRecord = { curve: [], best: Infinity };
    records.push(record);
    const random = generator(settings.seed + restart);
    const point = Float64Array.from({ length: inputSize + labelSize }, () => gaussian(random));
    if (restart === 0 && problem.start) {
      point.set(problem.start);
    }
    let own = { misfit: Infinity, point: point.slice() };
    // The lowest loss within a step counts; L-BFGS may take twenty.
    const objective: Objective = async (at) => {
      const x = at.subarray(0, inputSize);
      const feeds = labelSize > 0 ? { x, y: at.subarray(inputSize) } : { x };
      const [loss, misfit, dx, dy] = await problem.program.run(feeds);
      const slope = new Float64Array(at.length);
      slope.set(dx!);
      if (dy) {
        slope.set(dy, inputSize);
      }
      const value = misfit![0]!;
      if (value < own.misfit && Number.isFinite(value)) {
        own = { misfit: value, point: at.slice() };
      }
      return { loss: loss![0]!, slope };
    };
    const optimiser = settings.optimiser === 'adam' ? adam(point.length, settings.signed) : lbfgs();
    const every = Math.max(1, Math.floor(settings.iterations / CURVE_POINTS));
    for (let iteration = 0; iteration < settings.iterations; iteration++) {
      const loss = await optimiser.step(point, rateAt(settings, iteration), objective);
      if (!Number.isFinite(loss) || point.some((value) => !Number.isFinite(value))) {
        // Diverged, as L-BFGS without line search can: this restart keeps its best.
        break;
      }
      if (iteration % every === 0 || iteration === settings.iterations - 1) {
        record.curve.push({ iteration, misfit: own.misfit });
      }
      const state = {
        restart,
        iteration: iteration + 1,
        of: settings.iterations,
        loss,
        misfit: own.misfit,
        x: own.point.subarray(0, inputSize),
      };
      try {
        await pause(state);
      } catch (error) {
        if (!isStop(error)) {
          throw error;
        }
        stopped = true;
        break;
      }
    }
    record.best = own.misfit;
    if (own.misfit < best.misfit) {
      best = own;
    }
  }
  return {
    x: best.point.slice(0, inputSize),
    labelLogits: labelSize > 0 ? best.point.slice(inputSize) : undefined,
    misfit: best.misfit,
    restarts: records,
    stopped,
  };
}

function rateAt({ learningRate, decay, iterations }: MatchingSettings, iteration: number): number {
  if (!decay) {
    return learningRate;
  }
  const drops = [3 / 8, 5 / 8, 7 / 8].filter((share) => iteration >= share * iterations).length;
  return learningRate * 0.1 ** drops;
}
