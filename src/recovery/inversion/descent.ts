import { evaluateWithProduct } from '../../graph/evaluate-with-product.js';
import { workOf } from '../../graph/tensor-graph.js';
import type { GaussNewton } from './gauss-newton.js';
import {
  EXACT,
  type InversionStage,
  KNOWN,
  type SearchState,
  UNKNOWN,
  knownCount,
  sizeOfKnown,
} from './search-state.js';

/** Gauss-Newton steps down to what is known; entries that stand out are left out on the way. */

/** Far off, and of maps that only say where to begin. */
const MOST_STEPS = 40;
/** Below {@link CREEPING}. */
const MOST_STEPS_NEAR = 80;
/** Conjugate gradients of a step; badly conditioned maps are given more. */
const FEWEST_CONJUGATE = 100;
const MOST_CONJUGATE = 1600;
const HALVED = 0.4;
/** So near, conjugate gradients of which twice as many left this share, twice in a row, bring no more of it. */
const BLUNT = { below: 1e-4, kept: 0.98, steps: 2 } as const;
/**
 * Among the kinks of rectifiers, trained networks' images come nearer by a twentieth a step, and by far more a step behind them. A start
 * that does so may take its share of the work; what it takes from the starts after it has to be worth more.
 */
const CREEPING = { below: 1e-2, patient: 0.97, impatient: 0.9 } as const;
/** Above, steps are short for the kinks of rectifiers, and more conjugate gradients do not make them longer. */
const NEARLY_LINEAR = 2e-3;
/** Entries beyond this many medians are not of this network's map. */
const OUTLYING = 30;
/** In units of the values' root mean square. */
const CONTRADICTION = 1e-3;
/** Steps shortened below this lead nowhere. */
const SHORTEST_STEP = 1e-2;
/** What is this far off everywhere has no outliers. */
const MOST_TO_TRIM = 0.3;
const MOST_TRIMS = 12;
const STILL_FALLING = 0.95;
/** Share of the worst entry's contradiction that is left out with it. */
const WORST = 0.3;

/** @param isLast whether what is found counts */
export async function descend(
  state: SearchState,
  stage: InversionStage,
  solver: GaussNewton,
  begun: Float64Array,
  isLast: boolean,
): Promise<Float64Array> {
  const kept = new Uint8Array(stage.target.length).fill(1);
  const enough = Math.max(EXACT, stage.error);
  let x = begun;
  let current = await residualAt(state, stage, x, kept);
  if (isLast) {
    state.consider({ input: x, residual: current.norm, contradicting: current.contradicting });
  }
  let trims = 0;
  let atTrim = Infinity;
  let conjugate = FEWEST_CONJUGATE;
  let blunt = 0;
  const most = (): number => (isLast && current.norm < CREEPING.below ? MOST_STEPS_NEAR : MOST_STEPS);
  for (let step = 0; step < most() && !state.isLate; step++) {
    const before = current.norm;
    let isCutShort = false;
    if (current.norm > enough) {
      const found = await solver.step(x, current.off, current.weight, conjugate, () => {
        state.work += solver.work;
        return state.pause({ step, residual: current.norm, input: x });
      });
      isCutShort = found.isCutShort;
      for (let factor = 1; factor > SHORTEST_STEP; factor /= 2) {
        const moved = x.map((value, at) => value + factor * found.direction[at]!);
        const next = await residualAt(state, stage, moved, kept);
        await state.pause({ step, residual: current.norm, input: x });
        if (next.norm < current.norm) {
          x = moved;
          current = next;
          break;
        }
      }
    }
    if (isLast) {
      state.consider({ input: x, residual: current.norm, contradicting: current.contradicting });
    }
    const isBlunt = current.norm < BLUNT.below && conjugate > FEWEST_CONJUGATE && current.norm > BLUNT.kept * before;
    blunt = isBlunt ? blunt + 1 : 0;
    const wantsMore = isCutShort && current.norm < NEARLY_LINEAR && current.norm > HALVED * before;
    if (wantsMore && blunt < BLUNT.steps && conjugate < MOST_CONJUGATE) {
      conjugate *= 2;
      continue;
    }
    const creeping = isLast && state.work < state.share ? CREEPING.patient : CREEPING.impatient;
    const slow = current.norm < 1e-3 ? 0.7 : current.norm < CREEPING.below ? creeping : 0.98;
    if (current.norm <= enough || current.norm > slow * before) {
      // Near the input, each round may still bring it nearer.
      const isEnough = trims >= MOST_TRIMS && !(current.norm < NEARLY_LINEAR && current.norm < STILL_FALLING * atTrim);
      if (isEnough || current.norm > MOST_TO_TRIM || !retrim(current, kept)) {
        break;
      }
      atTrim = current.norm;
      trims++;
      current = await residualAt(state, stage, x, kept);
    }
  }
  return x;
}

async function residualAt(
  state: SearchState,
  { output, target, active }: InversionStage,
  x: Float64Array,
  kept: Uint8Array,
): Promise<Residual> {
  state.work += workOf([output]);
  const [values] = await evaluateWithProduct([output], { x }, state.product);
  const size = sizeOfKnown(target, active);
  const limit = (CONTRADICTION * size) / Math.sqrt(knownCount(active) || 1);
  const all = new Float64Array(target.length);
  const off = new Float64Array(target.length);
  const weight = new Float64Array(target.length);
  let sum = 0;
  let contradicting = 0;
  for (let at = 0; at < target.length; at++) {
    if (active[at] === UNKNOWN) {
      continue;
    }
    const own = active[at] === KNOWN ? values![at]! - target[at]! : Math.max(values![at]!, 0);
    all[at] = own;
    contradicting += Number(Math.abs(own) > limit);
    if (kept[at] === 1 && (active[at] === KNOWN || own > 0)) {
      off[at] = own;
      weight[at] = 1;
      sum += own * own;
    }
  }
  return { all, off, weight, norm: Math.sqrt(sum) / size, contradicting: contradicting / target.length };
}

interface Residual {
  /** Of every entry. */
  readonly all: Float64Array;
  /** The same, zero for entries left out. */
  readonly off: Float64Array;
  /** 1 where an entry takes part. */
  readonly weight: Float64Array;
  /** Of `off`, relative to the target's size. */
  readonly norm: number;
  readonly contradicting: number;
}

/**
 * Leaves out the entries that stand out most, since a wrong mask entry bends the whole image, and takes back those that
 * do not any more. A few at a time: beside a wrong one, right ones look wrong too.
 *
 * @returns whether that changes anything
 */
function retrim({ all, off, weight }: Residual, kept: Uint8Array): boolean {
  const sizes = off
    .filter((own, at) => weight[at] === 1 && own !== 0)
    .map(Math.abs)
    .sort();
  const limit = OUTLYING * (sizes[sizes.length >> 1] ?? Infinity);
  const cut = Math.max(limit, WORST * (sizes[sizes.length - 1] ?? Infinity));
  let changed = false;
  all.forEach((own, at) => {
    const next = Number(Math.abs(own) <= (kept[at] === 1 ? cut : limit));
    changed ||= next !== kept[at];
    kept[at] = next;
  });
  return changed;
}
