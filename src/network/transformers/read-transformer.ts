import { readBert } from './bert.js';
import { Config } from './config.js';
import { readGpt2 } from './gpt2.js';
import { readLlama } from './llama.js';
import type { Place } from './place.js';
import { TransformerProblem } from './problem.js';
import { type NamedShape, TensorNames } from './tensor-names.js';
import type { Transformer, TransformerFamily, TransformerParts } from './transformer.js';

/** From a checkpoint's names and shapes, and its `config.json` where there is one, to what the transformer computes. */

/** Why a transformer is not read: one sentence. */
export interface Refusal {
  readonly refused: string;
}

interface Structure {
  /** Ends of two names that every such checkpoint has; the first is the embedding of tokens. */
  readonly marks: readonly [string, string];
  /** What the classes with a head call the rest. */
  readonly roots: readonly string[];
  readonly read: (place: Place) => TransformerParts;
}

const GPT2: Structure = {
  marks: ['wte.weight', 'h.0.attn.c_attn.weight'],
  roots: ['transformer.'],
  read: readGpt2,
};
const BERT: Structure = {
  marks: ['embeddings.word_embeddings.weight', 'encoder.layer.0.attention.self.query.weight'],
  roots: ['bert.', 'roberta.'],
  read: readBert,
};
const DISTILBERT: Structure = {
  marks: ['embeddings.word_embeddings.weight', 'transformer.layer.0.attention.q_lin.weight'],
  roots: ['distilbert.'],
  read: readBert,
};
const LLAMA: Structure = {
  marks: ['embed_tokens.weight', 'layers.0.self_attn.o_proj.weight'],
  roots: ['model.'],
  read: readLlama,
};

const STRUCTURES: Readonly<Record<TransformerFamily, Structure>> = {
  gpt2: GPT2,
  bert: BERT,
  roberta: BERT,
  distilbert: DISTILBERT,
  llama: LLAMA,
  mistral: LLAMA,
  qwen2: LLAMA,
  qwen3: LLAMA,
  gemma: LLAMA,
};
const FAMILIES = Object.keys(STRUCTURES) as TransformerFamily[];
const TOKEN_TABLE = /(^|\.)(wte|word_embeddings|embed_tokens|tok_embeddings|shared)\.weight$/;

/**
 * No numbers are read. Names in the result are the checkpoint's own.
 *
 * @param entries names and shapes of the checkpoint
 * @param config value of a `config.json`, from anybody; undefined without one
 * @param source for people: the configuration's file
 * @param trained names of tensors that have a gradient, where that is known
 * @returns undefined for what is no transformer at all; a refusal for one that is not read, or contradicts itself
 */
export function readTransformer(
  entries: readonly NamedShape[],
  config: unknown,
  source: string,
  trained?: ReadonlySet<string>,
): Transformer | Refusal | undefined {
  try {
    return read(entries, config, source, trained);
  } catch (error) {
    if (error instanceof TransformerProblem) {
      return { refused: error.message };
    }
    throw error;
  }
}

function read(
  entries: readonly NamedShape[],
  value: unknown,
  source: string,
  trained: ReadonlySet<string> | undefined,
): Transformer | undefined {
  const config = typeof value === 'object' && value !== null ? configOf(value, source) : undefined;
  const modelType = config?.text(['model_type']);
  const names = new TensorNames(entries, config?.source ?? 'the shapes of other tensors', trained);
  refuseAdapters(entries);
  const family = modelType === undefined ? familyByNames(names) : FAMILIES.find((own) => own === modelType);
  if (family === undefined) {
    if (modelType !== undefined && entries.some(({ name }) => TOKEN_TABLE.test(name))) {
      const shown = JSON.stringify(modelType.slice(0, 40));
      throw new TransformerProblem(`${source}: a model of type ${shown} is not read, only ${FAMILIES.join(', ')}.`);
    }
    return undefined;
  }
  const { marks, roots, read: readStructure } = STRUCTURES[family];
  const [prefix] = names.prefixesOf(...marks);
  if (prefix === undefined) {
    throw new TransformerProblem(
      `${source} describes a ${family}, but the checkpoint holds no "${marks[0]}" beside "${marks[1]}".`,
    );
  }
  const place: Place = { family, config, names, prefix, outside: outsideOf(prefix, roots) };
  const own = readStructure(place);
  return { ...own, paddings: paddingsOf(config, own.vocabulary), source: config ? source : 'names and shapes' };
}

/** Without a token of its own, padding is the end of texts, or an end of the vocabulary. */
function paddingsOf(config: Config | undefined, vocabulary: number): number[] {
  const named = ['pad_token_id', 'eos_token_id'].flatMap((name) => config?.tokens(name, vocabulary) ?? []);
  return [...new Set([...named, 0, vocabulary - 1])];
}

/** What is left when LoRA is taken off are adapters of other kinds. @throws TransformerProblem */
function refuseAdapters(entries: readonly NamedShape[]): void {
  const adapted = entries.find(({ name }) => name.endsWith('.base_layer.weight'));
  if (adapted && entries.some(({ name }) => TOKEN_TABLE.test(name))) {
    throw new TransformerProblem(
      `The layer of "${adapted.name}" has an adapter other than LoRA, which is not read: merge it before the gradient is captured.`,
    );
  }
}

/** Undefined for a `config.json` of something else. */
function configOf(value: object, source: string): Config | undefined {
  const named = new Map<string, unknown>(Object.entries(value));
  return typeof named.get('model_type') === 'string' ? new Config(value, source) : undefined;
}

/** Without a root, the parts stand beside the head or below a name that somebody else gave them. */
function outsideOf(prefix: string, roots: readonly string[]): string[] {
  const root = roots.find((own) => prefix === own || prefix.endsWith(`.${own}`)) ?? '';
  const parent = prefix.replace(/[^.]*\.$/, '');
  return [...new Set([prefix.slice(0, prefix.length - root.length), prefix, parent])];
}

function familyByNames(names: TensorNames): TransformerFamily | undefined {
  const family = FAMILIES.find((own) => names.prefixesOf(...STRUCTURES[own].marks).length > 0);
  return family === 'bert' && isRoberta(names) ? 'roberta' : family;
}

/** One type of tokens where BERT has two, or a head of RoBERTa's. */
function isRoberta(names: TensorNames): boolean {
  const [prefix = ''] = names.prefixesOf(...BERT.marks);
  const types = `${prefix}embeddings.token_type_embeddings.weight`;
  const outside = outsideOf(prefix, BERT.roots);
  return (
    (names.has(types) && names.shapeOf(types, 2)[0] === 1) ||
    outside.some((own) => names.has(`${own}lm_head.dense.weight`) || names.has(`${own}classifier.out_proj.weight`))
  );
}
