import type { Engine, ProductKernel } from '../../engine/engine.js';
import { evaluateWithProduct } from '../../engine/evaluate-with-product.js';
import { gradients } from '../../graph/derivative.js';
import { type TensorGraph, type TensorNode, sizeOf } from '../../graph/tensor-graph.js';
import { gaussian } from '../gaussian.js';
import { adam } from '../matching/optimisers.js';
import { type Pause, isStop } from '../pause.js';
import { GaussNewton } from './gauss-newton.js';

/**
 * From what is known of the values inside a network back to its input: a forward problem of the layers below, far better
 * conditioned than matching gradients. Short Adam runs find the valley, Gauss-Newton its floor.
 */
export interface InversionProblem {
  readonly graph: TensorGraph;
  /** Variable of the input, 1 x channels x height x width. */
  readonly input: TensorNode;
  /** Values before activations: what is known of them is `target` where active, and that they are not above zero elsewhere. */
  readonly output: TensorNode;
  readonly target: Float64Array;
  /** 1 where the value is known, 0 where it is at most zero, 2 where nothing is. */
  readonly active: Uint8Array;
  readonly random: () => number;
}

export interface Inversion {
  readonly input: Float64Array;
  /** ||F(x) - target|| / ||target|| over what is known. */
  readonly residual: number;
  /** Entries that stood out, and were left out. */
  readonly trimmed: number;
  /** The user stopped it. */
  readonly stopped: boolean;
}

export interface InversionProgress {
  readonly step: number;
  readonly residual: number;
  readonly input: Float64Array;
}

const RATES = [0.05, 0.01, 0.003];
const ADAM_STEPS = 300;
/** A start this good needs no other. */
const GOOD_START = 1e-3;
const MOST_STEPS = 30;
/** Float32 dumps do not tell more. */
const EXACT = 3e-7;
/** Entries beyond this many medians are not of this network's map. */
const OUTLYING = 30;

/**
 * @param another whether to begin at another random input, given how many were tried; the first always is
 * @param product for residuals in float64
 * @param pause after every step; stopping keeps the best so far
 * @throws EngineError when the engine does not take the graph
 */
export async function invertMap(
  problem: InversionProblem,
  engine: Engine,
  another: (tried: number) => boolean,
  product: ProductKernel,
  pause: Pause<InversionProgress>,
): Promise<Inversion> {
  const state = { input: new Float64Array(sizeOf(problem.input.shape)), residual: Infinity, trimmed: 0 };
  try {
    await search(problem, engine, another, state, product, pause);
    return { ...state, stopped: false };
  } catch (error) {
    if (!isStop(error)) {
      throw error;
    }
    return { ...state, stopped: true };
  }
}

interface Best {
  input: Float64Array;
  residual: number;
  trimmed: number;
}

async function search(
  problem: InversionProblem,
  engine: Engine,
  another: (tried: number) => boolean,
  best: Best,
  product: ProductKernel,
  pause: Pause<InversionProgress>,
): Promise<void> {
  const solver = await GaussNewton.of(problem.graph, problem.input, problem.output, engine);
  try {
    for (let tried = 0; tried === 0 || another(tried); tried++) {
      const begun = await adamStart(problem, engine, best, pause);
      const found = await descend(problem, solver, begun, best, product, pause);
      if (found.residual < best.residual) {
        Object.assign(best, found);
      }
      if (best.residual < GOOD_START) {
        return;
      }
    }
  } finally {
    await solver.dispose();
  }
}

/** The best of short runs at several rates: what suits a trained network kills one at its initialisation. */
async function adamStart(
  { graph: g, input, output, target, active, random }: InversionProblem,
  engine: Engine,
  best: Best,
  pause: Pause<InversionProgress>,
): Promise<Float64Array> {
  const wanted = g.constant(target, output.shape);
  const known = g.constant(
    Float64Array.from(active, (own) => Number(own === 1)),
    output.shape,
  );
  const below = g.constant(
    Float64Array.from(active, (own) => Number(own === 0)),
    output.shape,
  );
  const off = g.add(g.mul(known, g.sub(output, wanted)), g.mul(below, g.unary('relu', output)));
  const size = target.reduce((sum, value, at) => sum + (active[at] === 1 ? value * value : 0), 0);
  const loss = g.scale(g.total(g.square(off)), 1 / Math.max(size, Number.MIN_VALUE));
  const program = await engine.compile([loss, ...gradients(g, loss, [input])]);
  try {
    const first = Float64Array.from({ length: sizeOf(input.shape) }, () => gaussian(random, 0.1));
    let found = { x: first, loss: Infinity };
    for (const rate of RATES) {
      const x = first.slice();
      const optimiser = adam(x.length, false);
      let last = Infinity;
      for (let step = 0; step < ADAM_STEPS; step++) {
        last = await optimiser.step(x, rate, async (at) => {
          const [value, slope] = await program.run({ x: at });
          return { loss: value![0]!, slope: Float64Array.from(slope!) };
        });
        if (last < found.loss) {
          found = { x: x.slice(), loss: last };
        }
        if (Math.sqrt(last) < best.residual) {
          Object.assign(best, { input: x.slice(), residual: Math.sqrt(last) });
        }
        await pause({ step, residual: Math.sqrt(last), input: x });
        if (!Number.isFinite(last)) {
          break;
        }
      }
      if (found.loss < GOOD_START) {
        break;
      }
    }
    return found.x;
  } finally {
    await program.dispose();
  }
}

async function descend(
  { output, target, active }: InversionProblem,
  solver: GaussNewton,
  begun: Float64Array,
  best: Best,
  product: ProductKernel,
  pause: Pause<InversionProgress>,
): Promise<Best> {
  const size = Math.sqrt(target.reduce((sum, value, at) => sum + (active[at] === 1 ? value * value : 0), 0));
  const kept = new Uint8Array(target.length).fill(1);
  const residualAt = async (x: Float64Array): Promise<Residual> => {
    const [values] = await evaluateWithProduct([output], { x }, product);
    const off = new Float64Array(target.length);
    const weight = new Float64Array(target.length);
    let sum = 0;
    for (let at = 0; at < target.length; at++) {
      const own = active[at] === 1 ? values![at]! - target[at]! : active[at] === 0 ? Math.max(values![at]!, 0) : 0;
      if (kept[at] === 1 && active[at] !== 2 && (active[at] === 1 || own > 0)) {
        off[at] = own;
        weight[at] = 1;
        sum += own * own;
      }
    }
    return { off, weight, norm: Math.sqrt(sum) / size };
  };
  let x = begun;
  let current = await residualAt(x);
  let trimmed = 0;
  for (let step = 0; step < MOST_STEPS && current.norm > EXACT; step++) {
    const direction = await solver.step(x, current.off, current.weight, () =>
      pause({ step, residual: current.norm, input: x }),
    );
    let factor = 1;
    let moved = x.map((value, at) => value + direction[at]!);
    let next = await residualAt(moved);
    while (!(next.norm < current.norm) && factor > SHORTEST_STEP) {
      factor /= 2;
      moved = x.map((value, at) => value + factor * direction[at]!);
      next = await residualAt(moved);
      await pause({ step, residual: current.norm, input: x });
    }
    const before = current.norm;
    if (next.norm < current.norm) {
      x = moved;
      current = next;
    }
    if (current.norm < best.residual) {
      Object.assign(best, { input: x, residual: current.norm, trimmed });
    }
    const slow = current.norm < 1e-3 ? 0.7 : 0.9;
    if (current.norm > slow * before) {
      const count = current.norm < MOST_TO_TRIM ? trim(current.off, current.weight, kept) : 0;
      if (count === 0) {
        break;
      }
      trimmed += count;
      current = await residualAt(x);
    }
  }
  return { input: x, residual: current.norm, trimmed };
}

interface Residual {
  readonly off: Float64Array;
  /** 1 where an entry takes part. */
  readonly weight: Float64Array;
  /** Relative to the target's size. */
  readonly norm: number;
}

/** Steps shortened below this lead nowhere. */
const SHORTEST_STEP = 1e-2;
/** What is this far off everywhere has no outliers. */
const MOST_TO_TRIM = 0.1;

/** Leaves out entries that stand out; a wrong mask entry would bend the whole image. @returns how many */
function trim(off: Float64Array, weight: Float64Array, kept: Uint8Array): number {
  const sizes = off
    .map(Math.abs)
    .filter((own, at) => weight[at] === 1 && own > 0)
    .sort();
  const limit = OUTLYING * (sizes[sizes.length >> 1] ?? Infinity);
  let count = 0;
  off.forEach((own, at) => {
    if (Math.abs(own) > limit) {
      kept[at] = 0;
      count++;
    }
  });
  return count;
}
