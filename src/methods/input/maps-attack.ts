import { performance } from 'node:perf_hooks';
import { chooseEngine } from '../../engine/choose.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import { encodeMosaic, isImage } from '../../formats/write-picture.js';
import { workOf } from '../../graph/tensor-graph.js';
import { NETWORK_INPUT } from '../../network/layer-graph.js';
import { type Layer, layerName } from '../../network/layers/recipe.js';
import type { EngineReport } from '../../protocol/report.js';
import { type Inversion, invertMap } from '../../recovery/inversion/invert-map.js';
import { inversionOf } from '../../recovery/inversion/known-maps.js';
import { generator } from '../../recovery/paper-method.js';
import { type HeadOfBatch, type WalkResult } from '../../recovery/walk/walk-state.js';
import { walkDown } from '../../recovery/walk/walk.js';
import type { Context } from '../method.js';
import { noEngine } from './no-engine.js';
import { type NetworkTask, type Prepared, outputShapesOf } from './prepare.js';
import { pausingProduct } from './pausing-product.js';
import { preview, toBase64 } from './preview.js';

/** The values inside a network of rectifiers, layer by layer from the head down, then the input that gives the deepest. */

export interface MapsTask extends NetworkTask {
  /** What the head tells of all samples; undefined where it tells too little. */
  readonly solution: HeadOfBatch | undefined;
  /** Relative error of the gradient's numbers: rounding, or noise where that is more. */
  readonly error: number;
}

export interface MapsRun {
  readonly walk: WalkResult;
  /** One input per sample, flat, in the network's normalised units. */
  readonly inputs: readonly (Float64Array | undefined)[];
  /** What each inversion left of the deepest maps; undefined where there was none. */
  readonly inversions: readonly (Inversion | undefined)[];
  readonly engine: EngineReport | undefined;
  /** Where it ended, and why, as the rest of "it ended at"; undefined when inputs were found. */
  readonly ended: string | undefined;
  readonly stopped: boolean;
}

/** Random inputs that Adam begins at, before the best is taken. */
const MOST_STARTS = 4;
const PREVIEW_EVERY_MS = 350;
const SEED = 13;

/** Whether a network has rectifiers, whose zeros this method lives by. */
export function hasRectifiers({ candidate }: Prepared): boolean {
  return candidate.recipe.layers.some(({ op }: Layer) => op === 'relu' || op === 'leaky-relu');
}

/**
 * @throws UnusableInputError when the asked engine does not work; CancelledError when stopped before any map was found
 */
export async function mapsAttack(task: MapsTask, prepared: Prepared, context: Context): Promise<MapsRun> {
  const product = await pausingProduct(context);
  const walk = await walked(task, prepared, product, context);
  const { recipe } = prepared.candidate;
  const direct = walk.maps.find(({ node }) => node === NETWORK_INPUT);
  const size = prepared.candidate.recipe.input.reduce((all, own) => all * own, 1);
  if (direct) {
    const inputs = Array.from({ length: walk.batch }, (_, b) => direct.values.slice(b * size, (b + 1) * size));
    return {
      walk,
      inputs,
      inversions: inputs.map(() => undefined),
      engine: undefined,
      ended: undefined,
      stopped: false,
    };
  }
  const none = { walk, inputs: [], inversions: [], engine: undefined, stopped: walk.stopped };
  const [deepest] = [...walk.maps].sort((one, other) => one.node - other.node);
  if (walk.stopped || !deepest) {
    return { ...none, ended: deepest ? undefined : endOf(walk, recipe.layers) };
  }
  const problems = Array.from({ length: walk.batch }, (_, b) =>
    inversionOf(
      prepared.graph,
      prepared.net,
      recipe,
      walk.maps.map((map) => {
        const each = map.values.length / walk.batch;
        return { ...map, values: map.values.slice(b * each, (b + 1) * each) };
      }),
      generator(SEED + b),
    ),
  );
  const known = problems.map(({ stages }) => stages[stages.length - 1]!.active.reduce((sum, own) => sum + own, 0));
  if (Math.min(...known) < size) {
    return {
      ...none,
      ended: `${layerName(recipe.layers[deepest.node]!, deepest.node)}, whose ${Math.min(...known)} values that are not zero do not settle an input of ${size} numbers`,
    };
  }
  context.progress('Choosing an engine', 0.4);
  const { engine, reasons } = await chooseEngine(
    task.request.engine,
    workOf(problems[0]!.stages.map(({ output }) => output)),
    {
      tfjsFolder: task.request.tfjsFolder,
    },
  ).catch(noEngine);
  const until = performance.now() + 1000 * task.request.timeLimitSeconds;
  const inputs: (Float64Array | undefined)[] = [];
  const inversions: (Inversion | undefined)[] = [];
  let stopped = false;
  try {
    let lastPreview = 0;
    for (const [sample, problem] of problems.entries()) {
      if (stopped) {
        inputs.push(undefined);
        inversions.push(undefined);
        continue;
      }
      const inversion = await invertMap(
        problem,
        engine,
        (tried) => tried < MOST_STARTS && performance.now() < until,
        product,
        async ({ step, residual, input }) => {
          const now = performance.now();
          if (now - lastPreview > PREVIEW_EVERY_MS) {
            lastPreview = now;
            context.progress(
              `Computing the input from layer ${deepest.node}: ${(100 * residual).toPrecision(2)} % of its values off`,
              0.4 + (0.6 * (sample + 0.5)) / problems.length,
              {
                sample,
                method: 'maps',
                restart: 0,
                iteration: step,
                of: step,
                loss: residual,
                secondsLeft: null,
                caption: 'So far',
                preview: preview(input, recipe.input, task.request),
              },
            );
          }
          await context.pause();
        },
      );
      inputs.push(inversion.residual < 1 ? inversion.input : undefined);
      inversions.push(inversion);
      stopped = inversion.stopped;
    }
  } finally {
    await engine.dispose();
  }
  return {
    walk,
    inputs,
    inversions,
    engine: { id: engine.id, description: engine.description, reasons: [...reasons] },
    ended: undefined,
    stopped,
  };
}

async function walked(
  task: MapsTask,
  { candidate, net, tensors, head, mode }: Prepared,
  product: ProductKernel,
  context: Context,
): Promise<WalkResult> {
  return walkDown(
    {
      recipe: candidate.recipe,
      head,
      outputShapes: outputShapesOf({ net }),
      parameter: tensors.parameter,
      gradient: tensors.gradient,
      mode: mode ?? 'eval',
      solution: task.solution,
      error: task.error,
    },
    product,
    generator(SEED),
    async ({ layer, done, of, latest }) => {
      const own = latest && { ...latest, values: latest.values.subarray(0, latest.values.length) };
      context.progress(`Solving ${layer}`, (0.4 * (done + 0.5)) / of, {
        sample: 0,
        method: 'maps',
        restart: 0,
        iteration: done,
        of,
        loss: null,
        secondsLeft: null,
        caption: 'Feature maps found last, channel by channel',
        preview: own && isImage(own.shape) ? toBase64(encodeMosaic(own.values, own.shape)) : null,
      });
      await context.pause();
    },
  );
}

/** The first thing that stood in the way, as the rest of "it ended at". */
function endOf({ ended }: WalkResult, layers: readonly Layer[]): string {
  const [first] = ended;
  return first
    ? `${first.node === NETWORK_INPUT ? 'the input' : layerName(layers[first.node]!, first.node)}: ${first.reason}`
    : 'the head: no layer below it has a gradient';
}
