import type { Engine } from '../../engine/engine.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import { evaluateWithProduct } from '../../graph/evaluate-with-product.js';
import { gradients } from '../../graph/derivative.js';
import { type TensorGraph, type TensorNode, sizeOf, workOf } from '../../graph/tensor-graph.js';
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
  /** Variable "x" of the input, one sample. */
  readonly input: TensorNode;
  readonly stages: readonly InversionStage[];
  /** How far the gradients below the deepest map are from those captured, a scalar; undefined where that is not known. */
  readonly mismatch: TensorNode | undefined;
  readonly random: () => number;
  /** An input found elsewhere: what is found here is no worse. Flat, one sample. */
  readonly begin?: Float64Array | undefined;
  /** Rounds with gradients, at most: where an input that is roughly right is enough. */
  readonly rounds?: number | undefined;
}

/** The target is the value. */
export const KNOWN = 1;
/** A rectifier has cut the value, so it is at most zero. */
export const CUT = 0;
export const UNKNOWN = 2;

/** Name of the variable of how smooth maxima are, a scalar. */
export const TEMPERATURE = 'temperature';

/** Values that are known; the first stage's may be rough, what is found from them is where the next begins. */
export interface InversionStage {
  /** Values before activations: `target` where they are known; elsewhere not above zero. 1 x entries. */
  readonly output: TensorNode;
  /** The same with smooth maxima, which also depends on the variable {@link TEMPERATURE}; undefined without maxima. */
  readonly softened: TensorNode | undefined;
  readonly target: Float64Array;
  /** For each entry {@link KNOWN}, {@link CUT} or {@link UNKNOWN}. */
  readonly active: Uint8Array;
  /** Expected error of the target, relative. */
  readonly error: number;
  /** Layer whose output is the deepest of its maps. */
  readonly deepest: number;
}

export interface Inversion {
  readonly input: Float64Array;
  /** ||F(x) - target|| / ||target|| over what is known, but for entries that stood out. */
  readonly residual: number;
  /** Share of all entries that contradict the input by more than a thousandth of the values' size. */
  readonly contradicting: number;
  /** Whether it explains what is known, so that another start was not needed. */
  readonly settled: boolean;
  /** Whether what is left is no more than the errors of what is known. */
  readonly isAtFloor: boolean;
  /** Whether all multiplications were spent before an input was found that explains what is known. */
  readonly spent: boolean;
  /** The user stopped it. */
  readonly stopped: boolean;
}

export interface InversionProgress {
  readonly step: number;
  readonly residual: number;
  readonly input: Float64Array;
}

export interface InversionLimits {
  /** Random inputs to begin at, at most; one is always tried. */
  readonly starts: number;
  /** Multiplications to spend, at most: beyond, what there is by then is what is found. */
  readonly work: number;
  /** Whether time is up: what there is by then is what is found. */
  isLate(): boolean;
}

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
] as const;
/** What leaves less begins at the second of them. */
const NOT_FAR = 0.02;
/** A round that leaves more of what was left is followed by a colder one. */
const WORTH_REPEATING = 0.8;
/** Further off, gradients lead nowhere. */
const NEAR = { residual: 0.3, contradicting: 0.6 } as const;
const MISMATCH_WEIGHT = 0.3;
/** In units of the expected error: above, something is still chosen wrongly. */
const AT_FLOOR = 10;
/** In units of the values' root mean square: beyond, what is off counts linearly, so that wrong mask entries do not pull. */
const HUBER_WIDTH = 0.05;
/** A loss this small needs no other rate. */
const GOOD_START = 4e-3;
/** A loss this small needs no more steps. */
const ENOUGH = 1e-6;
/** An input this good needs no other start. */
const GOOD_RESIDUAL = 1e-4;
const FEW_CONTRADICTING = 2e-3;
/** Where all the rest fits as well as can be expected, some of what was told may have been wrong. */
const FEW_AT_THE_FLOOR = 1e-2;
/** Far off, and of maps that only say where to begin. */
const MOST_STEPS = 40;
/** Below {@link CREEPING}. */
const MOST_STEPS_NEAR = 80;
/** Conjugate gradients of a step; badly conditioned maps are given more. */
const FEWEST_CONJUGATE = 100;
const MOST_CONJUGATE = 1600;
const HALVED = 0.4;
/** So near, more conjugate gradients that left this share only carry what the values are off into the input. */
const BLUNT = { below: 1e-4, kept: 0.98 } as const;
/**
 * Among the kinks of rectifiers, trained networks' images come nearer by a twentieth a step, and by far more a step behind them. A start
 * that does so may take its share of the work; what it takes from the starts after it has to be worth more.
 */
const CREEPING = { below: 1e-2, patient: 0.97, share: 0.5, impatient: 0.9 } as const;
/** Above, steps are short for the kinks of rectifiers, and more conjugate gradients do not make them longer. */
const NEARLY_LINEAR = 2e-3;
/** Float32 dumps do not tell more. */
const EXACT = 3e-7;
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
  const search = new Search(problem, engine, limits, product, pause);
  try {
    await search.run();
    return { ...search.found(), spent: search.isSpent, stopped: false };
  } catch (error) {
    if (!isStop(error)) {
      throw error;
    }
    return { ...search.found(), spent: false, stopped: true };
  }
}

type Best = Pick<Inversion, 'input' | 'residual' | 'contradicting'>;

class Search {
  private best: Best;
  private work = 0;
  /** Until which a start may creep. */
  private share = 0;

  constructor(
    private readonly problem: InversionProblem,
    private readonly engine: Engine,
    private readonly limits: InversionLimits,
    private readonly product: ProductKernel,
    private readonly pause: Pause<InversionProgress>,
  ) {
    this.best = { input: new Float64Array(sizeOf(problem.input.shape)), residual: Infinity, contradicting: 1 };
  }

  async run(): Promise<void> {
    const { graph, input, stages, mismatch, begin } = this.problem;
    const solvers: GaussNewton[] = [];
    const last = stages.length - 1;
    try {
      for (const stage of stages) {
        solvers.push(await GaussNewton.of(graph, input, stage.output, this.engine));
      }
      if (begin) {
        this.share = this.work + CREEPING.share * (this.limits.work - this.work);
        await this.descend(stages[last]!, solvers[last]!, begin, true);
        if (this.isGood()) {
          return;
        }
      }
      for (let tried = 0; tried === 0 || (tried < this.limits.starts && !this.isLate()); tried++) {
        this.share = this.work + CREEPING.share * (this.limits.work - this.work);
        const start = await this.adamStart(stages[0]!);
        const descend = async (from: Float64Array): Promise<Float64Array> => {
          let x = from;
          for (const [at, stage] of stages.entries()) {
            x = await this.descend(stage, solvers[at]!, x, at === last);
          }
          return x;
        };
        await descend(start);
        if (mismatch) {
          await this.refineByRounds(mismatch, start, descend);
        }
        if (this.isGood()) {
          return;
        }
      }
    } finally {
      await Promise.all(solvers.map((solver) => solver.dispose()));
    }
  }

  found(): Omit<Inversion, 'spent' | 'stopped'> {
    return { ...this.best, settled: this.isGood(), isAtFloor: this.isAtFloor() };
  }

  get isSpent(): boolean {
    return this.work >= this.limits.work && !this.isGood();
  }

  private isLate(): boolean {
    return this.work >= this.limits.work || this.limits.isLate();
  }

  private get expected(): number {
    return this.problem.stages[this.problem.stages.length - 1]!.error;
  }

  private isGood(): boolean {
    const { residual, contradicting } = this.best;
    return (
      residual < GOOD_RESIDUAL && contradicting < (residual < this.expected ? FEW_AT_THE_FLOOR : FEW_CONTRADICTING)
    );
  }

  private isNear(): boolean {
    return this.best.residual < NEAR.residual && this.best.contradicting < NEAR.contradicting;
  }

  /** Whether what is left is the error of what is known. */
  private isAtFloor(): boolean {
    return this.isGood() && this.best.residual < AT_FLOOR * Math.max(EXACT, this.expected);
  }

  private consider(found: Best): void {
    if (score(found) < score(this.best)) {
      this.best = found;
    }
  }

  /** The best of short runs at several rates: what suits a trained network kills one at its initialisation. */
  private async adamStart({ output: hard, softened, target, active }: InversionStage): Promise<Float64Array> {
    const { graph: g, input, random } = this.problem;
    const loss = this.forwardLoss({ output: softened ?? hard, target, active });
    const outputs = [loss, ...gradients(g, loss, [input])];
    const each = workOf(outputs);
    const affordable = Math.min(MOST_ADAM_STEPS, Math.floor(ADAM_WORK / (each * RATES.length)));
    const steps = softened ? SOFT_STEPS : affordable >= 2 * ADAM_STEPS ? affordable : ADAM_STEPS;
    const program = await this.engine.compile(outputs);
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
          this.work += each;
          const last = await optimiser.step(x, rate * decay(step / steps), async (at) => {
            const [value, slope] = await program.run({ x: at, ...feeds });
            return { loss: value![0]!, slope: Float64Array.from(slope!) };
          });
          // Losses at different temperatures do not compare.
          if (last < own.loss || softened) {
            own = { x: x.slice(), loss: last };
          }
          this.consider({ input: own.x, residual: Math.sqrt(own.loss), contradicting: 1 });
          await this.pause({ step, residual: Math.sqrt(last), input: x });
          if (this.isLate() || !Number.isFinite(last) || (last < ENOUGH && !(softened && temperature > COLDEST))) {
            break;
          }
        }
        found = own.loss < found.loss ? own : found;
        if (found.loss < GOOD_START || this.isLate()) {
          break;
        }
      }
      return found.x;
    } finally {
      await program.dispose();
    }
  }

  /** How far the values that an input gives are from those known, robust; in units of their mean square. */
  private forwardLoss({ output, target, active }: Pick<InversionStage, 'output' | 'target' | 'active'>): TensorNode {
    const { graph: g } = this.problem;
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

  /** @param descend from an input to what is known */
  private async refineByRounds(
    mismatch: TensorNode,
    start: Float64Array,
    descend: (from: Float64Array) => Promise<Float64Array>,
  ): Promise<void> {
    let x = start;
    let round = this.best.residual < NOT_FAR ? 1 : 0;
    let left = this.problem.rounds ?? Infinity;
    for (; left > 0 && round < REFINEMENTS.length && this.isNear() && !this.isAtFloor() && !this.isLate(); left--) {
      const before = score(this.best);
      x = await descend(await this.refine(this.problem.stages[0]!, mismatch, x, REFINEMENTS[round]!));
      round += Number(score(this.best) > WORTH_REPEATING * before);
    }
  }

  /** From near the input: with the gradients of the layers below, which tell a part of it that values alone leave wrong. */
  private async refine(
    stage: InversionStage,
    mismatch: TensorNode,
    begun: Float64Array,
    { steps, warm, rate }: (typeof REFINEMENTS)[number],
  ): Promise<Float64Array> {
    const { graph: g, input } = this.problem;
    const loss = g.add(
      this.forwardLoss({ ...stage, output: stage.softened ?? stage.output }),
      g.scale(mismatch, MISMATCH_WEIGHT),
    );
    const outputs = [loss, ...gradients(g, loss, [input])];
    const each = workOf(outputs);
    const program = await this.engine.compile(outputs);
    try {
      const x = begun.slice();
      const optimiser = adam(x.length, false);
      for (let step = 0; step < steps && !this.isLate(); step++) {
        const share = Math.min(1, step / (COOLED * steps));
        const feeds = stage.softened ? { [TEMPERATURE]: Float64Array.of(warm * (COLDEST / warm) ** share) } : {};
        this.work += each;
        const last = await optimiser.step(x, rate * decay(step / steps), async (at) => {
          const [value, slope] = await program.run({ x: at, ...feeds });
          return { loss: value![0]!, slope: Float64Array.from(slope!) };
        });
        await this.pause({ step, residual: Math.sqrt(last), input: x });
        if (!Number.isFinite(last)) {
          return begun;
        }
      }
      return x;
    } finally {
      await program.dispose();
    }
  }

  /** @param isLast whether what is found counts */
  private async descend(
    stage: InversionStage,
    solver: GaussNewton,
    begun: Float64Array,
    isLast: boolean,
  ): Promise<Float64Array> {
    const kept = new Uint8Array(stage.target.length).fill(1);
    const enough = Math.max(EXACT, stage.error);
    let x = begun;
    let current = await this.residualAt(stage, x, kept);
    if (isLast) {
      this.consider({ input: x, residual: current.norm, contradicting: current.contradicting });
    }
    let trims = 0;
    let atTrim = Infinity;
    let conjugate = FEWEST_CONJUGATE;
    const most = (): number => (isLast && current.norm < CREEPING.below ? MOST_STEPS_NEAR : MOST_STEPS);
    for (let step = 0; step < most() && !this.isLate(); step++) {
      const before = current.norm;
      let isCutShort = false;
      if (current.norm > enough) {
        const found = await solver.step(x, current.off, current.weight, conjugate, () => {
          this.work += solver.work;
          return this.pause({ step, residual: current.norm, input: x });
        });
        isCutShort = found.isCutShort;
        for (let factor = 1; factor > SHORTEST_STEP; factor /= 2) {
          const moved = x.map((value, at) => value + factor * found.direction[at]!);
          const next = await this.residualAt(stage, moved, kept);
          await this.pause({ step, residual: current.norm, input: x });
          if (next.norm < current.norm) {
            x = moved;
            current = next;
            break;
          }
        }
      }
      if (isLast) {
        this.consider({ input: x, residual: current.norm, contradicting: current.contradicting });
      }
      const isBlunt = current.norm < BLUNT.below && conjugate > FEWEST_CONJUGATE && current.norm > BLUNT.kept * before;
      const wantsMore = isCutShort && current.norm < NEARLY_LINEAR && current.norm > HALVED * before && !isBlunt;
      if (wantsMore && conjugate < MOST_CONJUGATE) {
        conjugate *= 2;
        continue;
      }
      const creeping = isLast && this.work < this.share ? CREEPING.patient : CREEPING.impatient;
      const slow = current.norm < 1e-3 ? 0.7 : current.norm < CREEPING.below ? creeping : 0.98;
      if (current.norm <= enough || current.norm > slow * before) {
        // Near the input, each round may still bring it nearer.
        const isEnough =
          trims >= MOST_TRIMS && !(current.norm < NEARLY_LINEAR && current.norm < STILL_FALLING * atTrim);
        if (isEnough || current.norm > MOST_TO_TRIM || !retrim(current, kept)) {
          break;
        }
        atTrim = current.norm;
        trims++;
        current = await this.residualAt(stage, x, kept);
      }
    }
    return x;
  }

  private async residualAt(
    { output, target, active }: InversionStage,
    x: Float64Array,
    kept: Uint8Array,
  ): Promise<Residual> {
    this.work += workOf([output]);
    const [values] = await evaluateWithProduct([output], { x }, this.product);
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
}

/** Fewer contradictions are better, then a smaller residual: a wrong input can be right on the entries that it keeps. */
function score({ residual, contradicting }: Best): number {
  return Math.hypot(residual, contradicting);
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

export function knownCount(active: Uint8Array): number {
  return active.reduce((sum, own) => sum + Number(own === KNOWN), 0);
}

function sizeOfKnown(target: Float64Array, active: Uint8Array): number {
  return Math.sqrt(target.reduce((sum, value, at) => sum + (active[at] === KNOWN ? value * value : 0), 0));
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
