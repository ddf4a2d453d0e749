import { statSync } from 'node:fs';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import { type OnnxFile, readOnnx } from '../formats/onnx.js';
import type { OnnxNode, OnnxTensor } from '../formats/onnx-protobuf.js';
import type { TensorFile } from '../formats/tensor-file.js';
import { CONFIG_FILE, readConfigJson } from './config-json.js';
import { type Layer, isEmbedding, isNeverHead, stem } from './head-structure.js';
import { type AuditPaths, filesBeside } from './inputs.js';
import type { Matching, TensorPair } from './matching.js';
import { isDense, tokenEmbedding } from './tied-head.js';

/**
 * What files beside the dump say of the head: config.json of Hugging Face, model.onnx. Nobody asked for them, so one that is
 * broken or does not fit is passed over with a note and never stops the audit.
 */

export interface HeadHint {
  /** `head`: this weight; `tied`: the head shares this embedding's weight; `other`: the outputs are no softmax's. */
  readonly kind: 'head' | 'tied' | 'other' | 'none';
  readonly pair?: TensorPair;
  /** One sentence: which file says so. */
  readonly reason?: string;
  /** Why files were passed over, one sentence each. */
  readonly notes: readonly string[];
}

/** Protobuf is parsed as a whole: a graph that needs longer than the audit is not worth a hint. */
const MAX_ONNX_BYTES = 256 * 2 ** 20;

/**
 * Looks beside the gradient, then beside the checkpoint; the first file that fits decides.
 *
 * @param matrices the checkpoint's matrices in order, with their sizes
 * @throws UnusableInputError only when checkpoint or gradient themselves cannot be read
 */
export function findHint(
  paths: AuditPaths,
  matching: Matching,
  matrices: readonly Layer[],
  checkpoint: TensorFile,
  gradients: TensorFile,
): HeadHint {
  const notes: string[] = [];
  const pairOf = new Map(matching.pairs.map((pair) => [pair.parameter, pair]));
  const trained = matrices.filter(({ entry }) => pairOf.has(entry));
  const readers: [string, (path: string) => HintFound | string | undefined][] = [
    ['model.onnx', (path) => fromOnnx(path, matching, checkpoint)],
    [CONFIG_FILE, (path) => fromConfig(path, trained, pairOf, matching, gradients)],
  ];
  for (const [name, read] of readers) {
    for (const path of filesBeside(paths, [name])) {
      const found = read(path);
      if (typeof found === 'object') {
        return {
          kind: found.kind,
          ...(found.pair ? { pair: found.pair } : {}),
          reason: `${path}: ${found.says}.`,
          notes,
        };
      }
      if (found !== undefined) {
        notes.push(`${path}: passed over, ${found}.`);
      }
    }
  }
  return { kind: 'none', notes };
}

interface HintFound {
  readonly kind: 'head' | 'tied' | 'other';
  readonly pair?: TensorPair;
  /** Part of a sentence. */
  readonly says: string;
}

interface Config {
  readonly architecture: string;
  readonly modelType: string;
  readonly tied: boolean | undefined;
  readonly labels: number | undefined;
  readonly problem: string;
}

/** Models whose configuration class ties unless told otherwise, so that the saved file need not say it. */
const TIED_BY_DEFAULT = new Set(
  'gpt2 bert distilbert roberta xlm-roberta albert electra deberta deberta-v2 mpnet opt bloom gpt_neo codegen t5 bart mbart gemma gemma2 gemma3 gemma3_text xlnet big_bird longformer mobilebert camembert ctrl xglm'.split(
    ' ',
  ),
);
/** What the classes of transformers call their classifier, the most specific first. */
const CLASSIFIERS = [
  'classifier.out_proj',
  'classification_head.out_proj',
  'classifier',
  'score',
  'qa_outputs',
  'logits_proj',
  'summary',
];
const LANGUAGE_HEADS = ['lm_head', 'embed_out', 'decoder', 'lm_head.decoder', 'vocab_projector', 'generator_lm_head'];

/** @returns what it says; a reason when it is passed over; undefined when it tells nothing of a head */
function fromConfig(
  path: string,
  trained: readonly Layer[],
  pairOf: ReadonlyMap<unknown, TensorPair>,
  matching: Matching,
  gradients: TensorFile,
): HintFound | string | undefined {
  const config = readConfig(path);
  if (typeof config === 'string' || config === undefined) {
    return config;
  }
  const { architecture, modelType, tied, labels, problem } = config;
  const named = (names: readonly string[]): Layer[] =>
    names
      .map((name) => trained.filter(({ entry }) => isCalled(stem(entry.name), name)))
      .find((layers) => layers.length > 0) ?? [];
  if (/For(\w*Classification|MultipleChoice)(WithTeacher)?$/.test(architecture)) {
    if (problem === 'regression' || labels === 1) {
      return { kind: 'other', says: `a ${architecture} with ${labels === 1 ? 'one output' : 'regression outputs'}` };
    }
    const layers = named(CLASSIFIERS).filter(({ out }) => labels === undefined || out === labels);
    const pair = layers.length === 1 ? pairOf.get(layers[0]?.entry) : undefined;
    return pair
      ? { kind: 'head', pair, says: `the head of a ${architecture} is "${pair.parameter.name}"` }
      : `no classifier${labels === undefined ? '' : ` of ${labels} classes`} of a ${architecture} has a gradient`;
  }
  if (/(LMHeadModel|ForCausalLM|ForMaskedLM|ForConditionalGeneration)$/.test(architecture)) {
    const embedding = tokenEmbedding(matching);
    const heads = named(LANGUAGE_HEADS).filter(({ entry }) => entry.shape.join() === embedding?.parameter.shape.join());
    const isTied = tied ?? (TIED_BY_DEFAULT.has(modelType) && heads.length === 0);
    if (isTied) {
      return embedding && isDense(embedding, gradients)
        ? { kind: 'tied', pair: embedding, says: `a ${architecture} shares its head's weight with the embedding` }
        : `a ${architecture} ties its head to an embedding, but no embedding's gradient reaches all of its rows`;
    }
    const pair = heads.length === 1 ? pairOf.get(heads[0]?.entry) : undefined;
    return pair
      ? { kind: 'head', pair, says: `the head of a ${architecture} is "${pair.parameter.name}"` }
      : `no head of a ${architecture} has a gradient`;
  }
  return undefined;
}

function isCalled(layer: string, name: string): boolean {
  const own = layer.replace(/\//g, '.');
  return own === name || own.endsWith(`.${name}`);
}

/** The fields that tell of the head; undefined for a config.json of something else, a reason for a broken one. */
function readConfig(path: string): Config | string | undefined {
  const value = readConfigJson(path);
  if (typeof value === 'string') {
    return value;
  }
  const fields = new Map<string, unknown>(Object.entries(value));
  const text = (own: unknown): string => (typeof own === 'string' ? own.slice(0, 200) : '');
  const architectures = fields.get('architectures');
  const architecture = text(Array.isArray(architectures) ? (architectures as unknown[])[0] : undefined);
  if (!/^\w+$/.test(architecture)) {
    return undefined;
  }
  const names = fields.get('id2label');
  const count = fields.get('num_labels');
  const tied = fields.get('tie_word_embeddings');
  return {
    architecture,
    modelType: text(fields.get('model_type')),
    tied: typeof tied === 'boolean' ? tied : undefined,
    labels:
      typeof names === 'object' && names !== null
        ? Object.keys(names).length
        : typeof count === 'number' && Number.isSafeInteger(count)
          ? count
          : undefined,
    problem: text(fields.get('problem_type')),
  };
}

/** Operations that change logits number by number, or pick some of them: behind the head, they leave it the head. */
const PASSED = new Set(
  'Softmax LogSoftmax Sigmoid Identity Cast Reshape Flatten Squeeze Unsqueeze Gather Slice Dropout Clip'.split(' '),
);
const SCALED = new Set(['Add', 'Sub', 'Mul', 'Div']);
/** Operations between a stored weight and the product. */
const STORED = new Set(['Transpose', 'Identity', 'Cast']);
const MOST_STEPS = 64;

function fromOnnx(path: string, matching: Matching, checkpoint: TensorFile): HintFound | string {
  let onnx: OnnxFile;
  try {
    if (!statSync(path).isFile() || statSync(path).size > MAX_ONNX_BYTES) {
      return 'no file of at most 256 MiB';
    }
    onnx = readOnnx(path);
  } catch (error) {
    if (!(error instanceof UnusableInputError)) {
      return messageOf(error);
    }
    return error.parts.found;
  }
  const weight = lastWeight(onnx);
  if (typeof weight === 'string') {
    return weight;
  }
  const pair = matchWeight(weight, onnx, matching, checkpoint);
  if (!pair) {
    return `its last layer's weight "${weight.name ?? ''}" is no parameter with a gradient`;
  }
  const { name } = pair.parameter;
  if (isEmbedding(name)) {
    return { kind: 'tied', pair, says: `the graph's last layer has the embedding "${name}" for its weight` };
  }
  return isNeverHead(name)
    ? `its last layer "${name}" is of a kind that is no head`
    : { kind: 'head', pair, says: `the graph's last layer is "${name}"` };
}

/** The weight of the layer whose products are the graph's first output; a reason when there is none. */
function lastWeight({ model: { graph } }: OnnxFile): OnnxTensor | string {
  const stored = new Map(graph.initializer.map((tensor) => [tensor.name ?? '', tensor]));
  const producers = new Map(graph.node.flatMap((node) => node.output.map((name) => [name, node] as const)));
  let value = (graph.output.find(({ name }) => name === 'logits') ?? graph.output[0])?.name ?? '';
  for (let step = 0; step < MOST_STEPS; step++) {
    const node = producers.get(value);
    if (!node) {
      return 'its output comes from no layer';
    }
    if (node.opType === 'Gemm' || node.opType === 'MatMul') {
      return storedBehind(node.input[1] ?? '', stored, producers) ?? 'its last product is of no stored weight';
    }
    const next = beforeNode(
      node,
      (name) => storedBehind(name, stored, producers) !== undefined || isConstant(producers.get(name)),
    );
    if (next === undefined) {
      return `its output comes from ${node.opType}, not from a linear layer`;
    }
    value = next;
  }
  return 'too many operations follow its last layer';
}

/** What a node changes only number by number; undefined for one that mixes numbers, or two values. */
function beforeNode({ opType, input }: OnnxNode, isFixed: (name: string) => boolean): string | undefined {
  if (PASSED.has(opType)) {
    return input[0];
  }
  const moving = input.filter((name) => !isFixed(name));
  return SCALED.has(opType) && moving.length === 1 ? moving[0] : undefined;
}

function isConstant(node: OnnxNode | undefined): boolean {
  return node?.opType === 'Constant';
}

function storedBehind(
  name: string,
  stored: ReadonlyMap<string, OnnxTensor>,
  producers: ReadonlyMap<string, OnnxNode>,
): OnnxTensor | undefined {
  let value = name;
  for (let step = 0; step < MOST_STEPS; step++) {
    const tensor = stored.get(value);
    const node = producers.get(value);
    if (tensor || !node || !STORED.has(node.opType)) {
      return tensor;
    }
    value = node.input[0] ?? '';
  }
  return undefined;
}

/** By name; exporters rename the weights that they transpose, which then are told by their numbers. */
function matchWeight(
  tensor: OnnxTensor,
  onnx: OnnxFile,
  { pairs }: Matching,
  checkpoint: TensorFile,
): TensorPair | undefined {
  const [rows = 0, cols = 0] = tensor.dims;
  const fitting = pairs.filter(({ parameter: { shape } }) => {
    const [own = 0, other = 0] = shape;
    return (
      tensor.dims.length === 2 &&
      shape.length === 2 &&
      ((own === rows && other === cols) || (own === cols && other === rows))
    );
  });
  const name = tensor.name ?? '';
  const byName = fitting.filter(
    ({ parameter }) =>
      parameter.name === name || parameter.name.endsWith(`.${name}`) || name.endsWith(`.${parameter.name}`),
  );
  if (byName.length === 1) {
    return byName[0];
  }
  let values: Float64Array;
  try {
    values = onnx.values(tensor);
  } catch (error) {
    if (error instanceof UnusableInputError) {
      return undefined;
    }
    throw error;
  }
  const transposed = (at: number): number => (at % rows) * cols + Math.floor(at / rows);
  const isOf = ({ parameter }: TensorPair): boolean => {
    const { data } = checkpoint.read(parameter.name);
    const sameWay = parameter.shape[0] === rows && data.every((value, at) => value === values[at]);
    return sameWay || (parameter.shape[0] === cols && data.every((value, at) => value === values[transposed(at)]));
  };
  const byValues = fitting.filter(isOf);
  return byValues.find(({ parameter }) => !isEmbedding(parameter.name)) ?? byValues[0];
}
