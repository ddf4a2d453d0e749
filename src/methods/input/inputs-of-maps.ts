import type { ProductKernel } from '../../graph/product-kernel.js';
import { foldConstant } from '../../graph/evaluate.js';
import { TensorGraph } from '../../graph/tensor-graph.js';
import { buildNetwork } from '../../network/network-graph.js';
import type { EngineReport } from '../../protocol/report.js';
import { type KnownMap, inversionOf, softenedNetwork } from '../../recovery/inversion/known-maps.js';
import type { InversionLimits, InversionProblem } from '../../recovery/inversion/search-state.js';
import { generator } from '../../recovery/paper-method.js';
import { joined } from '../../recovery/vectors.js';
import { type ExactMap, type WalkResult, sampleOf } from '../../recovery/walk/walk-state.js';
import type { Context } from '../method.js';
import { invertInputs } from './invert-inputs.js';
import type { NetworkTask, Prepared } from './prepare.js';

/** From the values inside a network that a walk has found to the inputs that give them. */

export interface MappedInput {
  /** Flat, in the network's normalised units. */
  readonly values: Float64Array;
  /** What it leaves of the deepest maps, relative; 0 where the walk itself came to it. */
  readonly residual: number;
  /** Whether it explains what is known of it. */
  readonly isSettled: boolean;
  /** Undefined where the walk itself came to it. */
  readonly basis: MapsBasis | undefined;
}

/** Of the maps that an input was computed from in the end. */
export interface MapsBasis {
  /** Expected error of the worst of them, relative. */
  readonly error: number;
  /** Whether a max pooling lies between the input and the deepest of them, some of whose choices may be wrong. */
  readonly isPooled: boolean;
}

const SEED = 13;

/** One for each sample, or one for all where batch normalisation in train mode mixes them. */
export function problemsOf(prepared: Prepared, walk: WalkResult): InversionProblem[] {
  const { candidate, tensors, mode } = prepared;
  const { recipe } = candidate;
  const { batch } = walk;
  const isMixed = mode === 'train' && batch > 1;
  const graph = isMixed ? new TensorGraph(foldConstant) : prepared.graph;
  const net = isMixed ? buildNetwork(graph, recipe, tensors.parameter, batch, 'train') : prepared.net;
  const soft = softenedNetwork(graph, recipe, tensors.parameter, mode ?? 'eval', isMixed ? batch : 1);
  const network = { graph, recipe, net, soft, gradient: tensors.gradient };
  if (isMixed) {
    return [inversionOf(network, walk.maps, generator(SEED))];
  }
  return Array.from({ length: batch }, (_, sample) =>
    inversionOf(
      network,
      walk.maps.map((map) => knownMapOf(map, sample, batch)),
      generator(SEED + sample),
    ),
  );
}

function knownMapOf(map: ExactMap, sample: number, batch: number): KnownMap {
  const size = map.values.length / batch;
  return {
    ...map,
    values: sampleOf(map, sample, batch),
    delta: batch === 1 ? map.delta : undefined,
    unknown: map.unknown?.slice(sample * size, (sample + 1) * size),
  };
}

export interface Inverted {
  readonly inputs: readonly (MappedInput | undefined)[];
  readonly engine: EngineReport | undefined;
  readonly stopped: boolean;
  readonly isSpent: boolean;
  /** Whether all of them explain what is known. */
  readonly isSettled: boolean;
  /** Whether they leave what is known may be off, in its size. */
  readonly isAtFloor: boolean;
}

/**
 * The input of each sample, one after the other or all at once; stopping keeps those that are there.
 *
 * @param before where the search begins; what it found is kept where nothing is found now, or nothing that explains what is known
 */
export async function inverted(
  { request }: NetworkTask,
  problems: readonly InversionProblem[],
  { candidate }: Prepared,
  effort: Pick<InversionLimits, 'starts' | 'work'> & Pick<InversionProblem, 'rounds'>,
  product: ProductKernel,
  context: Context,
  before?: Inverted,
): Promise<Inverted> {
  const { layers } = candidate.recipe;
  const deepest = Math.min(...problems[0]!.stages.map((stage) => stage.deepest));
  const begun = problems.map((problem, at): InversionProblem => ({
    ...problem,
    begin: before && beginOf(before, at * problem.input.shape[0]!, problem.input.shape[0]!),
    rounds: effort.rounds,
  }));
  const { found, engine, stopped } = await invertInputs(
    request,
    begun.map((problem) => () => problem),
    {
      from: 0.4,
      starts: effort.starts,
      work: effort.work,
      endsWhenLate: false,
      message: (_, residual) =>
        `Computing the input from layer ${deepest}: ${(100 * residual).toPrecision(2)} % of its values off`,
    },
    product,
    context,
  );
  const inputs = problems.flatMap(({ input, stages }, at): (MappedInput | undefined)[] => {
    const own = found[at];
    const together = input.shape[0]!;
    const last = stages[stages.length - 1]!;
    const isPooled = layers.slice(0, last.deepest + 1).some(({ op }) => op === 'max-pool');
    const basis = { error: last.error, isPooled };
    return Array.from({ length: together }, (_, b) => {
      const earlier = before?.inputs[at * together + b];
      return own && own.residual < 1 && (own.settled || !earlier?.isSettled)
        ? {
            values: sampleOf({ values: own.input }, b, together),
            residual: own.residual,
            isSettled: own.settled,
            basis,
          }
        : earlier;
    });
  });
  return {
    inputs,
    engine,
    stopped,
    isSpent: found.some(({ spent }) => spent),
    isSettled: inputs.every((input) => input?.isSettled === true),
    isAtFloor: found.length === problems.length && found.every(({ isAtFloor }) => isAtFloor),
  };
}

/** Inputs found before of the samples that are looked for together, where all are there. */
function beginOf({ inputs }: Inverted, first: number, count: number): Float64Array | undefined {
  const values = inputs.slice(first, first + count).flatMap((input) => (input ? [input.values] : []));
  return values.length === count ? joined(values) : undefined;
}
