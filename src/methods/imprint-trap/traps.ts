import { type TensorEntry, type TensorFile, elementCount, isFloating } from '../../formats/tensor-file.js';
import { type Imprint, type Trap, findTrap, readTrap } from '../../recovery/imprint.js';
import type { Matrix } from '../../recovery/linear-algebra.js';
import type { TrapFacts } from './describe-trap.js';
import type { Matching } from '../../facts/matching.js';

/** Traps in a checkpoint (recovery/imprint.ts), and what they caught in a gradient. */

const MOST_ELEMENTS = 2 ** 27;

export interface FoundTrap extends Omit<TrapFacts, 'inputs'> {
  /** Inputs that were read out alone in their bin. */
  readonly imprints: readonly Imprint[];
}

interface Layer {
  readonly weight: TensorEntry;
  readonly bias: TensorEntry;
}

/** Linear layers with a bias, by their names. */
function linearLayers({ entries }: TensorFile): Layer[] {
  const byName = new Map(entries.map((entry) => [entry.name, entry]));
  return entries.flatMap((weight): Layer[] => {
    const bias = byName.get(weight.name.replace(/weight$/, 'bias'));
    const isLinear =
      weight.name.endsWith('weight') &&
      weight.shape.length === 2 &&
      isFloating(weight.dtype) &&
      elementCount(weight.shape) <= MOST_ELEMENTS &&
      bias?.shape.length === 1 &&
      bias.shape[0] === weight.shape[0];
    return isLinear ? [{ weight, bias }] : [];
  });
}

/** Rows of one layer, and its biases. */
function read(file: TensorFile, weight: string, bias: string, shape: readonly number[]): [Matrix, Float64Array] {
  const [rows = 0, cols = 0] = shape;
  return [{ rows, cols, data: file.read(weight).data }, file.read(bias).data];
}

interface TrapLayer {
  readonly layer: string;
  readonly biasName: string;
  readonly shape: readonly number[];
  readonly weight: Matrix;
  readonly bias: Float64Array;
  readonly trap: Trap;
}

function trapLayers(checkpoint: TensorFile): TrapLayer[] {
  return linearLayers(checkpoint).flatMap(({ weight: entry, bias: biasEntry }): TrapLayer[] => {
    const { name: layer, shape } = entry;
    // Two rows tell most layers apart from a trap without reading the rest.
    const [, cols = 0] = shape;
    const { data } = checkpoint.read(layer, { start: 0, end: Math.min(2 * cols, elementCount(shape)) });
    const isAlike = data
      .subarray(0, cols)
      .every((value, at) => Math.abs(value - (data[cols + at] ?? NaN)) <= 0.1 * Math.abs(value) + 1e-12);
    if (!isAlike) {
      return [];
    }
    const [weight, bias] = read(checkpoint, layer, biasEntry.name, shape);
    const trap = findTrap(weight, bias);
    return trap ? [{ layer, biasName: biasEntry.name, shape, weight, bias, trap }] : [];
  });
}

/** Names of layers that are traps, from the checkpoint alone. */
export function findTraps(checkpoint: TensorFile): string[] {
  return trapLayers(checkpoint).map(({ layer }) => layer);
}

/** Traps, each with the inputs that the gradient holds of it. */
export function readTraps(
  checkpoint: TensorFile,
  gradients: TensorFile,
  matching: Pick<Matching, 'pairs'>,
): FoundTrap[] {
  const gradientOf = new Map(matching.pairs.map(({ parameter, gradient }) => [parameter.name, gradient.name]));
  return trapLayers(checkpoint).map(({ layer, biasName, shape, weight, bias, trap }): FoundTrap => {
    const [weightGradient, biasGradient] = [gradientOf.get(layer), gradientOf.get(biasName)];
    const imprints =
      weightGradient !== undefined && biasGradient !== undefined
        ? readTrap(trap, weight, bias, ...read(gradients, weightGradient, biasGradient, shape))
        : [];
    return {
      layer,
      bins: weight.rows,
      spread: trap.spread,
      filled: imprints.length,
      width: weight.cols,
      imprints: imprints.filter(({ consistent }) => consistent),
    };
  });
}
