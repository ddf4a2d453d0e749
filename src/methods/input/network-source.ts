import { existsSync, statSync } from 'node:fs';
import { extname } from 'node:path';
import { UnusableInputError, messageOf } from '../../protocol/errors.js';
import type { NetworkReport } from '../../protocol/report.js';
import { filesBeside } from '../../facts/inputs.js';
import type { TensorFile } from '../../formats/tensor-file.js';
import { type Candidate, type NetworkHints, recogniseNetwork } from '../../network/built-in.js';
import { importKeras } from '../../network/keras.js';
import type { StoredTensor } from '../../network/network-graph.js';
import { importOnnx } from '../../network/onnx.js';
import { parseRecipe } from '../../network/parse-recipe.js';
import type { Recipe } from '../../network/layers/recipe.js';
import { readKerasModel } from '../../formats/keras-file.js';
import { parseJson, readBounded } from '../../formats/json-file.js';
import { readOnnx } from '../../formats/onnx.js';

/** Where the network's layers are known from: a state dict has no graph. */
export interface NetworkSource {
  readonly source: NetworkReport['source'];
  readonly file: string | null;
  readonly candidates: readonly Candidate[];
  /** Tensors that the file brings along and the checkpoint does not hold. */
  readonly own: ReadonlyMap<string, StoredTensor>;
  readonly reasons: readonly string[];
}

/** For networks without a name of their own. */
const NAMES = { onnx: 'ONNX model', keras: 'Keras model', recipe: 'recipe' };

const MAX_TEXT_BYTES = 64 * 2 ** 20;
/** Files that say what a network is, best first, as captures and users name them. */
const BESIDE = ['model.onnx', 'recipe.json', 'model.json', 'model.keras'];

/**
 * A given file first, then one beside the gradient or the checkpoint, then names and shapes.
 *
 * @param pause called while a file is waited for; what it throws is thrown on
 * @returns a source without candidates when nothing is known of the network
 * @throws UnusableInputError when the given file cannot be used
 */
export async function findNetwork(
  given: string | undefined,
  checkpoint: TensorFile,
  gradients: TensorFile,
  hints: NetworkHints,
  pause: () => Promise<void>,
): Promise<NetworkSource> {
  if (given !== undefined) {
    return readNetwork(given, checkpoint, [`${given}: taken, as asked`], pause);
  }
  const reasons: string[] = [];
  for (const path of filesBeside({ gradients: gradients.path, checkpoint: checkpoint.path }, BESIDE)) {
    try {
      return await readNetwork(path, checkpoint, [...reasons, `${path}: taken, found beside the dump`], pause);
    } catch (error) {
      if (!(error instanceof UnusableInputError)) {
        throw error;
      }
      // Nobody asked for this file, so it must not stop the audit; the report says why it was passed over.
      reasons.push(error.message);
    }
  }
  return recognised(checkpoint, hints, reasons);
}

/**
 * What names and shapes tell.
 *
 * @param passedOver why files beside the dump were not taken, one sentence each
 */
export function recognised(checkpoint: TensorFile, hints: NetworkHints, passedOver: readonly string[]): NetworkSource {
  return {
    source: 'built-in',
    file: null,
    candidates: recogniseNetwork(checkpoint.entries, hints),
    own: new Map(),
    reasons: [...passedOver, 'recognised by names and shapes of the checkpoint'],
  };
}

async function readNetwork(
  path: string,
  checkpoint: TensorFile,
  reasons: readonly string[],
  pause: () => Promise<void>,
): Promise<NetworkSource> {
  if (!existsSync(path) || !statSync(path).isFile()) {
    throw new UnusableInputError({
      code: 'missing-file',
      file: path,
      found: 'no such file',
      expected: 'an ONNX, Keras or recipe file that describes the network',
      advice: "Correct the path of the network's file, or leave it out.",
      next: ['choose-network'],
    });
  }
  const describedBy = (source: Exclude<NetworkSource['source'], 'built-in'>, recipe: Recipe): NetworkSource => ({
    source,
    file: path,
    candidates: [{ name: recipe.name ?? NAMES[source], recipe }],
    own: new Map(),
    reasons,
  });
  /** Importers copy numbers from their files; what they make of them is held to what a written recipe is. */
  const imported = (recipe: Recipe): Recipe =>
    parseRecipe(recipe, path, 'Describe the network by a recipe instead, or audit labels only.');
  switch (extname(path).toLowerCase()) {
    case '.onnx': {
      const { recipe, own, notes } = importOnnx(readOnnx(path), path, checkpointView(checkpoint));
      return { ...describedBy('onnx', imported(recipe)), own, reasons: [...reasons, ...notes] };
    }
    case '.keras':
    case '.h5':
    case '.hdf5':
      return describedBy('keras', imported(importKeras(await readKerasModel(path, { pause }), path)));
    case '.json': {
      const value = readJson(path);
      return isKerasJson(value)
        ? describedBy('keras', imported(importKeras(value, path)))
        : describedBy('recipe', parseRecipe(value, path));
    }
    default:
      throw new UnusableInputError({
        code: 'bad-network',
        file: path,
        found: `a file ending in "${extname(path)}"`,
        expected: '.onnx, .keras, .h5 or .json (a recipe, or model.json of TensorFlow.js)',
        advice: 'Export the network with torch.onnx.export, or write a recipe.',
      });
  }
}

function checkpointView(checkpoint: TensorFile) {
  return {
    entries: checkpoint.entries,
    read: (name: string): Float64Array => checkpoint.read(name).data,
  };
}

function readJson(path: string): unknown {
  try {
    return parseJson(readBounded(path, MAX_TEXT_BYTES));
  } catch (error) {
    throw new UnusableInputError({
      code: 'malformed-file',
      file: path,
      found: messageOf(error),
      expected: 'a JSON file with a recipe or a Keras model',
      advice: 'See the recipe schema in media/recipe.schema.json.',
    });
  }
}

function isKerasJson(value: unknown): boolean {
  return typeof value === 'object' && value !== null && ('modelTopology' in value || 'class_name' in value);
}
