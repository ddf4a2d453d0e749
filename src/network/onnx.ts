import { UnusableInputError } from '../protocol/errors.js';
import type { OnnxFile } from '../formats/onnx.js';
import type { StoredTensor } from './network-graph.js';
import { OnnxOperations } from './onnx-operations.js';
import { type CheckpointView, OnnxWeights } from './onnx-weights.js';
import type { Layer, Recipe } from './layers/recipe.js';

/** ONNX graphs as recipes: both of PyTorch's exporters, opsets 11 to 21. */

export interface ImportedOnnx {
  readonly recipe: Recipe;
  /** Initializers that are not in the checkpoint. */
  readonly own: ReadonlyMap<string, StoredTensor>;
  /** What a reader should know of the import, one sentence each. */
  readonly notes: readonly string[];
}

/**
 * @param file named in messages
 * @param checkpoint initializers are matched to its tensors, by name, else by values
 * @throws UnusableInputError naming the operation and node that is not supported
 */
export function importOnnx(onnx: OnnxFile, file: string, checkpoint: CheckpointView): ImportedOnnx {
  return new OnnxImporter(onnx, file, checkpoint).run();
}

class OnnxImporter {
  private readonly weights: OnnxWeights;
  private readonly notes: string[] = [];

  constructor(
    private readonly onnx: OnnxFile,
    private readonly file: string,
    private readonly checkpoint: CheckpointView,
  ) {
    this.weights = new OnnxWeights(onnx, file, checkpoint);
  }

  run(): ImportedOnnx {
    const { graph, functions } = this.onnx.model;
    if (functions && functions.length > 0) {
      throw this.bad(
        `functions local to the model, such as "${functions[0]?.name ?? ''}"`,
        'a graph of standard operations',
        'Export with a newer PyTorch, or with torch.onnx.export(..., dynamo=False).',
      );
    }
    const input = graph.input.find(({ name }) => !this.weights.has(name));
    const dims = input?.type?.tensorType?.shape?.dim.slice(1).map(({ dimValue }) => dimValue);
    if (!input || !dims || dims.length === 0 || dims.some((size) => size === undefined || size < 1)) {
      throw this.bad(
        'an input whose shape is not fixed',
        'one input of fixed size, with the batch as its first axis',
        'Export with an example input and without dynamic image sizes.',
      );
    }
    const operations = new OnnxOperations(this.onnx, this.file, this.weights, input.name);
    graph.node.forEach((node, index) => operations.add(node, index));
    const output = operations.resolve(graph.output[0]?.name ?? '');
    const { layers } = operations;
    const last = layers.findIndex(({ id }) => id === output);
    if (last < 0) {
      throw this.bad('an output that no layer computes', 'logits as the first output', 'Export the model itself.');
    }
    // What comes after the logits, or feeds other outputs, is of no use here.
    layers.length = last + 1;
    this.trimSoftmax(layers);
    this.noteFolding(layers);
    return {
      recipe: {
        schemaVersion: 1,
        name: `ONNX graph${this.onnx.model.producerName ? ` by ${this.onnx.model.producerName}` : ''}`,
        input: dims as number[],
        layers,
      },
      own: this.weights.own,
      notes: this.notes,
    };
  }

  /** Cross-entropy takes logits: a final softmax belongs to the loss. */
  private trimSoftmax(layers: Layer[]): void {
    if (layers[layers.length - 1]?.op === 'softmax') {
      layers.pop();
      this.notes.push('the softmax at the end of the graph was left to the loss');
    }
  }

  /** @throws UnusableInputError when the exporter has folded batch normalisation into the convolutions */
  private noteFolding(layers: readonly Layer[]): void {
    const hasNorm = layers.some(({ op }) => op === 'batch-norm');
    if (!hasNorm && this.checkpoint.entries.some(({ name }) => name.endsWith('running_mean'))) {
      throw this.bad(
        'convolutions into which the exporter has folded batch normalisation, so that their gradients do not fit',
        'batch normalisation as layers of its own, as in the checkpoint',
        'Export with training=torch.onnx.TrainingMode.PRESERVE (dynamo=True: optimize=False), as gradleak_capture.py does.',
      );
    }
    if (this.weights.own.size > 0) {
      this.notes.push(
        `${this.weights.own.size} tensors of the ONNX file are not in the checkpoint (${[...this.weights.own.keys()].slice(0, 3).join(', ')}) and were taken as they are`,
      );
    }
  }

  private bad(found: string, expected: string, advice: string): UnusableInputError {
    return new UnusableInputError({ code: 'bad-network', file: this.file, found, expected, advice });
  }
}
