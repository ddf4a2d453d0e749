import type { Config } from './config.js';
import { TransformerProblem } from './problem.js';
import type { TensorNames } from './tensor-names.js';
import type { Norm, Projection, TransformerActivation, TransformerFamily } from './transformer.js';

/** Where a family's reader looks, and the parts that all families share. */

export interface Place {
  readonly family: TransformerFamily;
  readonly config: Config | undefined;
  readonly names: TensorNames;
  /** Before the names of embeddings and blocks. */
  readonly prefix: string;
  /** What may stand before the names of a head. */
  readonly outside: readonly string[];
}

export const MOST_WIDTH = 2 ** 17;
const MOST_VOCABULARY = 2 ** 23;
const MOST_LAYERS = 2 ** 12;
const MOST_HEADS = 2 ** 12;

/** @throws TransformerProblem when the embedding of tokens is missing, or of another shape than the configuration says */
export function tokenTable(
  { config, names, prefix }: Place,
  name: string,
  widthFields: readonly string[],
): { readonly tokens: string; readonly vocabulary: number; readonly width: number } {
  const tokens = prefix + name;
  const [rows = 0, columns = 0] = names.shapeOf(tokens, 2);
  const vocabulary = config?.whole(['vocab_size'], MOST_VOCABULARY) ?? rows;
  const width = config?.whole(widthFields, MOST_WIDTH) ?? columns;
  return { tokens: names.need(tokens, [vocabulary, width]), vocabulary, width };
}

/** @throws TransformerProblem when there are none, or not as many as the configuration says */
export function countLayers(
  { config, names, prefix }: Place,
  fields: readonly string[],
  before: string,
  after: string,
): number {
  const found = names.countNumbered(prefix + before, after);
  const stated = config?.whole(fields, MOST_LAYERS) ?? found;
  if (found === 0 || found !== stated || found > MOST_LAYERS) {
    throw new TransformerProblem(
      `The checkpoint holds ${found} layers ("${prefix}${before}0${after}" and on), but ${stated} by ${config?.source ?? 'what is read'}.`,
    );
  }
  return found;
}

/** Of all published models of these families without rotation. */
const USUAL_HEAD_WIDTH = 64;

/** Heads of a family without rotation, whose width they share. @throws TransformerProblem when they do not divide it */
export function countHeads({ config }: Place, fields: readonly string[], width: number): number {
  if (config) {
    const heads = statedHeads(config, fields);
    requireDivides(heads, width, `"${fields[0] ?? ''}"`, config);
    return heads;
  }
  if (width % USUAL_HEAD_WIDTH !== 0) {
    throw new TransformerProblem(
      `Names and shapes do not tell the number of attention heads of a transformer ${width} wide: put its config.json beside the checkpoint.`,
    );
  }
  return width / USUAL_HEAD_WIDTH;
}

/** @throws TransformerProblem when the number of heads is missing */
export function statedHeads(config: Config, fields: readonly string[]): number {
  const heads = config.whole(fields, MOST_HEADS);
  if (heads === undefined) {
    throw new TransformerProblem(`${config.source}: there is no "${fields[0] ?? ''}".`);
  }
  return heads;
}

/** @throws TransformerProblem when `heads` does not divide `whole` */
export function requireDivides(heads: number, whole: number, what: string, config: Config): void {
  if (whole % heads !== 0) {
    throw new TransformerProblem(`${config.source}: ${what} is ${heads}, which does not divide ${whole}.`);
  }
}

const ACTIVATIONS: ReadonlyMap<string, TransformerActivation> = new Map([
  ['gelu', 'gelu'],
  ['gelu_python', 'gelu'],
  ['gelu_new', 'gelu-tanh'],
  ['gelu_fast', 'gelu-tanh'],
  ['gelu_pytorch_tanh', 'gelu-tanh'],
  ['gelu_python_tanh', 'gelu-tanh'],
  ['relu', 'relu'],
  ['silu', 'silu'],
  ['swish', 'silu'],
  ['tanh', 'tanh'],
]);

/** @throws TransformerProblem for an activation that is not read */
export function activationOf(
  config: Config | undefined,
  fields: readonly string[],
  usual: TransformerActivation,
): TransformerActivation {
  const name = config?.text(fields);
  const activation = name === undefined ? usual : ACTIVATIONS.get(name);
  if (activation === undefined) {
    throw new TransformerProblem(
      `${config?.source ?? ''}: the activation ${JSON.stringify(name?.slice(0, 40))} is not one of those that are read (${[...ACTIVATIONS.keys()].join(', ')}).`,
    );
  }
  return activation;
}

/** Refuses what changes the computation and is not read. @throws TransformerProblem */
export function refuseFields(
  config: Config | undefined,
  fields: readonly (readonly [name: string, what: string])[],
): void {
  for (const [name, what] of fields) {
    if (config?.flag(name) === true) {
      throw new TransformerProblem(`${config.source}: "${name}" is true, and ${what} is not read.`);
    }
  }
}

/** A probability of dropout. @throws TransformerProblem when it is none */
export function dropoutOf(config: Config | undefined, name: string, usual: number): number {
  return config?.real(name, 0, 1) ?? usual;
}

/** A linear layer's weight, outputs x inputs, and its bias. @throws TransformerProblem when either does not fit */
export function linear(
  names: TensorNames,
  stem: string,
  inputs: number,
  outputs: number,
  bias: 'needed' | 'optional',
): Projection {
  return {
    weight: names.need(`${stem}.weight`, [outputs, inputs]),
    bias: names[bias === 'needed' ? 'need' : 'optional'](`${stem}.bias`, [outputs]),
    transposed: false,
    start: 0,
    outputs,
  };
}

/** @throws TransformerProblem when weight or bias do not fit */
export function layerNorm(names: TensorNames, stem: string, width: number, epsilon: number): Norm {
  return {
    kind: 'layer',
    weight: names.need(`${stem}.weight`, [width]),
    bias: names.optional(`${stem}.bias`, [width]),
    epsilon,
    offset: 0,
  };
}

/** The configuration's, which has to be a small number. @throws TransformerProblem when it is not */
export function epsilonOf(config: Config | undefined, field: string, usual: number): number {
  return config?.real(field, 0, 1) ?? usual;
}
