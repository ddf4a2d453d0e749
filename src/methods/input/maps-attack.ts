import type { ProductKernel } from '../../graph/product-kernel.js';
import { encodeMosaic, isImage } from '../../formats/write-picture.js';
import { evaluateWithProduct } from '../../graph/evaluate-with-product.js';
import { sizeOf } from '../../graph/tensor-graph.js';
import { NETWORK_INPUT, nodeName } from '../../network/layer-graph.js';
import type { Recipe } from '../../network/layers/recipe.js';
import type { EngineReport } from '../../protocol/report.js';
import { knownCount } from '../../recovery/inversion/search-state.js';
import { isStop } from '../../recovery/pause.js';
import { generator } from '../../recovery/paper-method.js';
import { isRectifier } from '../../recovery/walk/rectifiers.js';
import { type HeadOfBatch, type WalkProblem, type WalkResult, sampleOf } from '../../recovery/walk/walk-state.js';
import { joined } from '../../recovery/vectors.js';
import { walkDown } from '../../recovery/walk/walk.js';
import type { Context } from '../method.js';
import type { HiddenSamples } from '../hidden-layer/hidden-samples.js';
import { type Inverted, type MappedInput, inverted, problemsOf } from './inputs-of-maps.js';
import { type NetworkTask, type Prepared, linearLayer, outputShapesOf } from './prepare.js';
import { pausingProduct } from '../pausing-product.js';
import { toBase64 } from './preview.js';

/** The values inside a network of rectifiers, layer by layer from the head down, then the input that gives the deepest. */

export interface MapsTask extends NetworkTask {
  /** What the head tells of all samples; undefined where it tells too little. */
  readonly solution: HeadOfBatch | undefined;
  /** What a fully connected layer before the head tells of all samples: the walk begins there then. */
  readonly hidden?: HiddenSamples | undefined;
  /** Relative error of the gradient's numbers: rounding, or noise where that is more. */
  readonly error: number;
}

export interface MapsRun {
  readonly walk: WalkResult;
  /** One for each sample; undefined where none was found. */
  readonly inputs: readonly (MappedInput | undefined)[];
  readonly engine: EngineReport | undefined;
  /** The fully connected layer before the head that told the samples apart; undefined where none did. */
  readonly begunAt?: string | undefined;
  /** Where it ended, and why, as the rest of "it ended at"; undefined when inputs were found. */
  readonly ended: string | undefined;
  readonly stopped: boolean;
}

/** Random inputs that Adam begins at, before the best is taken. */
const MOST_STARTS = 4;
/** Multiplications for all samples together: minutes on two cores. */
const MOST_WORK = 6e12;
/** What leaves more of the maps that it comes from is no input that was found. */
const MOST_LEFT = 0.05;
const SEED = 13;
/** Equations for each number of an input: with fewer, the way down goes on by signs before an input is looked for. */
const AMPLE = 2;
/** An input that leaves more tells no choices. */
const NEAR_ENOUGH = 0.2;

/** Whether a network has rectifiers, whose zeros this method lives by. */
export function hasRectifiers({ candidate }: Prepared): boolean {
  return candidate.recipe.layers.some(({ op }) => isRectifier(op));
}

/**
 * @throws UnusableInputError when the asked engine does not work; CancelledError when stopped before any map was found
 */
export async function mapsAttack(task: MapsTask, prepared: Prepared, context: Context): Promise<MapsRun> {
  const start = startOf(task, prepared);
  const product = await pausingProduct(context);
  const walk = await walked(task, prepared, start, product, context);
  const run = await inputsOf(task, prepared, start, walk, product, context);
  return start.head === prepared.head ? run : { ...run, begunAt: task.hidden?.weight };
}

async function inputsOf(
  task: MapsTask,
  prepared: Prepared,
  start: WalkStart,
  walk: WalkResult,
  product: ProductKernel,
  context: Context,
  before?: Inverted,
): Promise<MapsRun> {
  const { recipe } = prepared.candidate;
  const samples = Array.from({ length: walk.batch }, (_, sample) => sample);
  const [deepest] = walk.maps;
  if (deepest?.node === NETWORK_INPUT) {
    const inputs = samples.map((sample) => ({
      values: sampleOf(deepest, sample, walk.batch),
      residual: 0,
      isSettled: true,
      basis: undefined,
    }));
    return { walk, inputs, engine: undefined, ended: undefined, stopped: false };
  }
  const none = { walk, inputs: before?.inputs ?? [], engine: before?.engine, stopped: walk.stopped };
  if (walk.stopped || !deepest) {
    return { ...none, ended: deepest ? undefined : endOf(walk, recipe) };
  }
  const problems = problemsOf(prepared, walk);
  const size = sizeOf(problems[0]!.input.shape);
  const known = Math.min(...problems.map(({ stages }) => knownCount(stages[stages.length - 1]!.active)));
  if (walk.goOn && known < AMPLE * size) {
    return inputsOf(task, prepared, start, await walk.goOn(), product, context, before);
  }
  if (known < size) {
    return {
      ...none,
      ended: before
        ? undefined
        : `${nodeName(recipe, deepest.node)}, whose ${known} values that are not zero do not settle an input of ${size} numbers${walk.ended.length > 0 ? `; below, at ${endOf(walk, recipe)}` : ''}`,
    };
  }
  const mayGoOn = walk.ended.some(({ isUntold }) => isUntold) && !start.guess;
  // Another search may follow, here or from deeper maps, and this may be that one.
  const work = mayGoOn || walk.goOn || start.guess ? MOST_WORK / 2 : MOST_WORK;
  const search = (starts: number, from?: Inverted, rounds?: number): Promise<Inverted> =>
    inverted(task, problems, prepared, { starts, work, rounds }, product, context, from);
  // One round of gradients where the way down may go on from an input that is roughly right.
  let run = await (mayGoOn || walk.goOn ? search(1, before, mayGoOn ? 1 : undefined) : search(MOST_STARTS, before));
  if (walk.goOn && !run.isAtFloor && !run.stopped) {
    const further = await walk.goOn();
    if (further.stopped) {
      return { ...run, walk, ended: undefined, stopped: true };
    }
    if (further.maps.length > walk.maps.length) {
      return inputsOf(task, prepared, start, further, product, context, run);
    }
  }
  if ((mayGoOn || walk.goOn) && !run.isSettled && !run.stopped) {
    const further = mayGoOn ? await furtherDown(task, prepared, start, walk, run, product, context) : undefined;
    if (further) {
      return further;
    }
    run = await search(MOST_STARTS - 1, run);
  }
  const lost = Math.max(0, ...run.inputs.map((input) => input?.residual ?? 1));
  return {
    walk,
    ...run,
    ended:
      lost > MOST_LEFT && !run.stopped
        ? `${nodeName(recipe, deepest.node)}: the inputs looked for leave up to ${(100 * lost).toPrecision(2)} % of its values unexplained${run.isSpent ? ', and no more work is spent on a map so deep' : ''}; below, at ${endOf(walk, recipe)}`
        : undefined,
  };
}

/**
 * Inputs that leave something unexplained, as where maxima were chosen wrongly, may be near enough to tell the choices that ended the
 * walk: then it goes on from them, and inputs follow from deeper maps.
 *
 * @param walk with choices that could not be told
 * @returns undefined where it comes no further; what there was before where the user stopped it
 */
async function furtherDown(
  task: MapsTask,
  prepared: Prepared,
  start: WalkStart,
  walk: WalkResult,
  run: Inverted,
  product: ProductKernel,
  context: Context,
): Promise<MapsRun | undefined> {
  const { net, mode } = prepared;
  const untold = new Set(walk.ended.filter(({ isUntold }) => isUntold).map(({ node }) => node));
  const near = run.inputs.flatMap((input) => (input && input.residual < NEAR_ENOUGH ? [input.values] : []));
  if (near.length < walk.batch || (mode === 'train' && walk.batch > 1)) {
    return undefined;
  }
  const nodes = [...untold].filter((node) => node !== NETWORK_INPUT);
  const values = new Map<number, Float64Array[]>([[NETWORK_INPUT, near]]);
  const stopped = { ...run, walk, ended: undefined, stopped: true };
  try {
    for (const x of near) {
      const outputs = await evaluateWithProduct(
        nodes.map((node) => net.outputs[node]!),
        { x },
        product,
      );
      outputs.forEach((own, at) => {
        values.set(nodes[at]!, [...(values.get(nodes[at]!) ?? []), own]);
      });
    }
  } catch (error) {
    if (isStop(error)) {
      return stopped;
    }
    throw error;
  }
  const guess = (node: number): Float64Array | undefined => (untold.has(node) ? joined(values.get(node)!) : undefined);
  const guessed = { ...start, guess };
  const further = await walked(task, prepared, guessed, product, context);
  if (further.stopped) {
    return stopped;
  }
  if (!(deepestOf(further) < deepestOf(walk))) {
    return undefined;
  }
  const found = await inputsOf(task, prepared, guessed, further, product, context, run);
  return found.inputs.includes(undefined) ? undefined : found;
}

function deepestOf({ maps }: WalkResult): number {
  return maps[0]?.node ?? Infinity;
}

type WalkStart = Pick<WalkProblem, 'head' | 'solution' | 'guess'>;

/** The layer that the walk goes down from, and what is known there. */
function startOf({ hidden, solution }: MapsTask, prepared: Prepared): WalkStart {
  const layer = hidden?.isComplete === true ? linearLayer(prepared.candidate.recipe, hidden.weight) : undefined;
  if (!hidden || layer === undefined) {
    return { head: prepared.head, solution };
  }
  const { samples } = hidden.separation;
  return {
    head: layer,
    solution: {
      batch: samples.length,
      features: joined(samples.map(({ input }) => input)),
      delta: joined(samples.map(({ slopes }) => slopes)),
    },
  };
}

async function walked(
  task: MapsTask,
  prepared: Prepared,
  start: WalkStart,
  product: ProductKernel,
  context: Context,
): Promise<WalkResult> {
  let shown = -1;
  return walkDown(
    {
      recipe: prepared.candidate.recipe,
      ...start,
      outputShapes: outputShapesOf(prepared),
      parameter: prepared.tensors.parameter,
      gradient: prepared.tensors.gradient,
      mode: prepared.mode ?? 'eval',
      error: task.error,
      leavesSigns: !start.guess,
    },
    product,
    generator(SEED),
    async ({ layer, done, of, latest }) => {
      if (done !== shown) {
        shown = done;
        context.progress(`Solving ${layer}`, (0.4 * (done + 0.5)) / of, {
          sample: 0,
          method: 'maps',
          restart: 0,
          iteration: done,
          of,
          loss: null,
          secondsLeft: null,
          caption: 'Feature maps found last, channel by channel',
          preview: latest && isImage(latest.shape) ? toBase64(encodeMosaic(latest.values, latest.shape)) : null,
        });
      }
      await context.pause();
    },
  );
}

/** The first thing that stood in the way, as the rest of "it ended at". */
function endOf({ ended: [first] }: WalkResult, recipe: Recipe): string {
  return first ? `${nodeName(recipe, first.node)}: ${first.reason}` : 'the head: no layer below it has a gradient';
}
