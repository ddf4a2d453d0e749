import { dirname, sep } from 'node:path';
import { floatingOf, transformerBeside } from '../facts/transformer-beside.js';
import type { TensorFile } from '../formats/tensor-file.js';
import type { Transformer, TransformerFamily } from '../network/transformers/transformer.js';
import type { ModelReport } from '../protocol/inspection.js';

/** Which transformer a file's tensors are of. */

const FAMILY_WORDS: Readonly<Record<TransformerFamily, string>> = {
  gpt2: 'GPT-2',
  bert: 'BERT',
  roberta: 'RoBERTa',
  distilbert: 'DistilBERT',
  llama: 'Llama',
  mistral: 'Mistral',
  qwen2: 'Qwen2',
  qwen3: 'Qwen3',
  gemma: 'Gemma',
};

export interface Model {
  readonly report: ModelReport;
  /** Undefined for one that is not read. */
  readonly transformer: Transformer | undefined;
}

/** By `config.json` beside the file, or by names and shapes; undefined for what is no transformer. */
export function modelOf(file: TensorFile): Model | undefined {
  const found = transformerBeside({ gradients: file.path }, floatingOf(file.entries));
  if (!found) {
    return undefined;
  }
  // The file's own folder is known to whoever reads the sentence.
  const short = (text: string): string => text.replaceAll(`${dirname(file.path)}${sep}`, '');
  return 'refused' in found
    ? { report: { sentence: short(found.refused), blocks: [] }, transformer: undefined }
    : { report: { sentence: sentenceOf(found, short(found.source)), blocks: blocksOf(found) }, transformer: found };
}

function sentenceOf({ family, blocks, width, heads, keyValueHeads, vocabulary }: Transformer, source: string): string {
  const shared = keyValueHeads < heads ? ` (${keyValueHeads} of keys and values)` : '';
  return `${FAMILY_WORDS[family]} by ${source}: ${counted(blocks.length, 'block')}, ${grouped(width)} wide, ${counted(heads, 'head')}${shared}, ${counted(vocabulary, 'token')}`;
}

function counted(count: number, what: string): string {
  return `${grouped(count)} ${what}${count === 1 ? '' : 's'}`;
}

function grouped(count: number): string {
  return count.toLocaleString('en');
}

/** What the names of a block's attention and MLP begin with, in parts as the tree has them. */
function blocksOf({ blocks }: Transformer): string[] {
  return blocks.map(({ query, down }) => {
    const [one, other] = [query.weight, down.weight].map((name) => name.split(/[./]/)) as [string[], string[]];
    const end = one.findIndex((part, at) => part !== other[at]);
    return one.slice(0, end).join('.');
  });
}
