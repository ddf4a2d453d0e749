import type { Program } from '../../engine/engine.js';
import { gradients } from '../../graph/derivative.js';
import { type TensorGraph, type TensorNode, sizeOf, workOf } from '../../graph/tensor-graph.js';
import { gaussian } from '../gaussian.js';
import { adam } from '../matching/optimisers.js';
import {
  CUT,
  type InversionProblem,
  type InversionStage,
  KNOWN,
  type SearchState,
  TEMPERATURE,
  knownCount,
  sizeOfKnown,
} from './search-state.js';

/** Runs of Adam: from nothing to near an input, and from near it to nearer, through maxima that become hard on the way. */

/** Of the first step; they fall to a fiftieth along half a cosine. */
const RATES = [0.1, 0.02, 0.005];
const ADAM_STEPS = 600;
/** Where a step is cheap, more of them come nearer, and cost less than Gauss-Newton steps from further off. */
const MOST_ADAM_STEPS = 4000;
const ADAM_WORK = 4e11;
/** Through maxima: from smooth ones, among whose entries the right one is chosen on the way, to all but hard ones. */
const SOFT_STEPS = 1500;
const COLDEST = 1e-3;
/** Share of the steps after which maxima are as hard as they become. */
const COOLED = 0.75;
const MISMATCH_WEIGHT = 0.3;
/** In units of the values' root mean square: beyond, what is off counts linearly, so that wrong mask entries do not pull. */
const HUBER_WIDTH = 0.05;
/** A loss this small needs no other rate. */
const GOOD_START = 4e-3;
/** A loss this small needs no more steps. */
const ENOUGH = 1e-6;

/** The best of short runs at several rates: what suits a trained network kills one at its initialisation. */
export async function adamStart(
  state: SearchState,
  { output: hard, softened, target, active }: InversionStage,
): Promise<Float64Array> {
  const { graph: g, input, random } = state.problem;
  const loss = forwardLoss(state.problem, { output: softened ?? hard, target, active });
  const outputs = [loss, ...gradients(g, loss, [input])];
  const each = workOf(outputs);
  const affordable = Math.min(MOST_ADAM_STEPS, Math.floor(ADAM_WORK / (each * RATES.length)));
  const steps = softened ? SOFT_STEPS : affordable >= 2 * ADAM_STEPS ? affordable : ADAM_STEPS;
  const program = await state.engine.compile(outputs);
  try {
    const first = Float64Array.from({ length: sizeOf(input.shape) }, () => gaussian(random, 0.1));
    let found = { x: first, loss: Infinity };
    for (const rate of RATES) {
      const x = first.slice();
      const optimiser = adam(x.length, false);
      let own = { x: first, loss: Infinity };
      for (let step = 0; step < steps; step++) {
        const temperature = COLDEST ** Math.min(1, step / (COOLED * steps));
        const feeds = softened ? { [TEMPERATURE]: Float64Array.of(temperature) } : {};
        state.work += each;
        const last = await optimiser.step(x, rate * decay(step / steps), slopesOf(program, feeds));
        // Losses at different temperatures do not compare.
        if (last < own.loss || softened) {
          own = { x: x.slice(), loss: last };
        }
        state.consider({ input: own.x, residual: Math.sqrt(own.loss), contradicting: 1 });
        await state.pause({ step, residual: Math.sqrt(last), input: x });
        if (state.isLate || !Number.isFinite(last) || (last < ENOUGH && !(softened && temperature > COLDEST))) {
          break;
        }
      }
      found = own.loss < found.loss ? own : found;
      if (found.loss < GOOD_START || state.isLate) {
        break;
      }
    }
    return found.x;
  } finally {
    await program.dispose();
  }
}

/** Warm maxima become hard; so do the steps become short. */
export interface Refinement {
  readonly steps: number;
  /** Temperature at first. */
  readonly warm: number;
  /** Of the first step. */
  readonly rate: number;
}

/** From near the input: with the gradients of the layers below, which tell a part of it that values alone leave wrong. */
export async function refined(
  state: SearchState,
  stage: InversionStage,
  mismatch: TensorNode,
  begun: Float64Array,
  { steps, warm, rate }: Refinement,
): Promise<Float64Array> {
  const { graph: g, input } = state.problem;
  const loss = g.add(
    forwardLoss(state.problem, { ...stage, output: stage.softened ?? stage.output }),
    g.scale(mismatch, MISMATCH_WEIGHT),
  );
  const outputs = [loss, ...gradients(g, loss, [input])];
  const each = workOf(outputs);
  const program = await state.engine.compile(outputs);
  try {
    const x = begun.slice();
    const optimiser = adam(x.length, false);
    for (let step = 0; step < steps && !state.isLate; step++) {
      const share = Math.min(1, step / (COOLED * steps));
      const feeds = stage.softened ? { [TEMPERATURE]: Float64Array.of(warm * (COLDEST / warm) ** share) } : {};
      state.work += each;
      const last = await optimiser.step(x, rate * decay(step / steps), slopesOf(program, feeds));
      await state.pause({ step, residual: Math.sqrt(last), input: x });
      if (!Number.isFinite(last)) {
        return begun;
      }
    }
    return x;
  } finally {
    await program.dispose();
  }
}

/** What Adam asks for at an input, of a program that gives a loss and its gradient. */
function slopesOf(program: Program, feeds: Readonly<Record<string, Float64Array>>) {
  return async (x: Float64Array): Promise<{ loss: number; slope: Float64Array }> => {
    const [value, slope] = await program.run({ x, ...feeds });
    return { loss: value![0]!, slope: Float64Array.from(slope!) };
  };
}

/** How far the values that an input gives are from those known, robust; in units of their mean square. */
function forwardLoss(
  { graph: g }: InversionProblem,
  { output, target, active }: Pick<InversionStage, 'output' | 'target' | 'active'>,
): TensorNode {
  const wanted = g.constant(target, output.shape);
  const mask = (kind: number): TensorNode =>
    g.constant(
      Float64Array.from(active, (own) => Number(own === kind)),
      output.shape,
    );
  const off = g.add(g.mul(mask(KNOWN), g.sub(output, wanted)), g.mul(mask(CUT), g.unary('relu', output)));
  const count = knownCount(active) || 1;
  const rms = Math.max(sizeOfKnown(target, active) / Math.sqrt(count), Number.MIN_VALUE);
  return g.scale(pseudoHuber(g, g.scale(off, 1 / rms), HUBER_WIDTH), 1 / count);
}

/** sum 2 w^2 (sqrt(1 + (r / w)^2) - 1): r^2 for small r, 2 w |r| for large (Charbonnier et al., 1997). */
function pseudoHuber(g: TensorGraph, r: TensorNode, width: number): TensorNode {
  const root = g.unary('sqrt', g.add(g.square(g.scale(r, 1 / width)), g.scalar(1)));
  return g.scale(g.total(g.sub(root, g.scalar(1))), 2 * width * width);
}

/** @param share of the steps done */
function decay(share: number): number {
  return 0.02 + 0.49 * (1 + Math.cos(Math.PI * share));
}
