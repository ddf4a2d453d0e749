import { type Layer, tensorsOf } from './layers/recipe.js';
import type { OnnxWeights } from './onnx-weights.js';

/**
 * Group normalisation as exporters take it apart: reshaped to one row for each group, normalised as instances, reshaped back
 * to the shape that it had, scaled and shifted.
 */
export class OnnxGroupNorms {
  /** Names of shapes, and what they are of. */
  private readonly shapes = new Map<string, string>();

  /** @param layers of the recipe so far; what belongs to one group normalisation is put together there */
  constructor(
    private readonly layers: Layer[],
    private readonly weights: OnnxWeights,
  ) {}

  shape(of: string, out: string): void {
    this.shapes.set(out, of);
  }

  /** Whether a reshape was the end of a group normalisation, whose layer then is the last one. */
  reshape(input: string, shape: string, out: string): boolean {
    const [grouped, normalised] = this.layers.slice(-2);
    const source = grouped?.inputs?.[0];
    const isWhole =
      normalised?.op === 'group-norm' &&
      normalised.id === input &&
      grouped?.op === 'reshape' &&
      normalised.inputs?.[0] === grouped.id &&
      grouped.shape[0] === normalised.groups &&
      this.shapes.get(shape) === source &&
      source !== undefined;
    if (isWhole) {
      this.layers.splice(-2, 2, { ...normalised, id: out, inputs: [source] });
    }
    return isWhole;
  }

  /**
   * The scale or shift of a group normalisation that nothing else takes yet.
   *
   * @returns the layer's id; undefined for other sums and products
   */
  affine(operation: string, input: string, tensor: string): string | undefined {
    const at = this.layers.findIndex(({ id }) => id === input);
    const norm = this.layers[at];
    const weight = this.weights.get(tensor);
    const field = operation === 'Mul' ? 'weight' : operation === 'Add' ? 'bias' : undefined;
    if (
      norm?.op !== 'group-norm' ||
      this.layers.some(({ inputs }) => inputs?.includes(input) === true) ||
      !weight ||
      !field ||
      norm[field] !== undefined
    ) {
      return undefined;
    }
    const [channels = 1, ...ones] = weight.tensor.dims;
    if ((field === 'weight' && norm.bias !== undefined) || ones.some((size) => size !== 1)) {
      return undefined;
    }
    const taken = new Set(this.layers.flatMap(tensorsOf));
    const tensorOfChannels = { ...weight.tensor, dims: [channels] };
    const found = this.weights.inCheckpoint({ tensor: tensorOfChannels, transposed: false }, taken);
    if (!found) {
      return undefined;
    }
    this.layers.splice(at, 1, { ...norm, [field]: found.name });
    return input;
  }
}
