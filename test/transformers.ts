import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { StoredTensor } from '../src/network/network-graph.js';
import { readTransformer } from '../src/network/transformers/read-transformer.js';
import type { NamedShape } from '../src/network/transformers/tensor-names.js';
import type { Transformer } from '../src/network/transformers/transformer.js';
import { readTensors } from './networks.js';

/** The small transformers of test/fixtures/transformers/. */

const TRANSFORMERS = join(import.meta.dirname, 'fixtures', 'transformers');
export const TRANSFORMER_NAMES: readonly string[] = readdirSync(TRANSFORMERS);

export interface TransformerCase {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly entries: readonly NamedShape[];
  readonly config: Record<string, unknown>;
  /** Of a batch: sequences of tokens; a label for each token or each sequence. */
  readonly tokens: readonly (readonly number[])[];
  readonly labels: readonly (readonly number[])[] | readonly number[];
  readonly loss: number;
  /** `hidden`, `logits`, and some `gradient.NAME`. */
  readonly expected: ReadonlyMap<string, StoredTensor>;
}

export function transformerCase(name: string): TransformerCase {
  const folder = transformerFolder(name);
  const json = (file: string): unknown => JSON.parse(readFileSync(join(folder, file), 'utf8'));
  const tensors = readTensors(join(folder, 'checkpoint.safetensors'));
  return {
    tensors,
    entries: [...tensors].map(([own, { shape }]) => ({ name: own, shape })),
    config: json('config.json') as Record<string, unknown>,
    expected: readTensors(join(folder, 'expected.safetensors')),
    ...(json('expected.json') as Pick<TransformerCase, 'tokens' | 'labels' | 'loss'>),
  };
}

/** @throws Error when it is refused */
export function readAs(entries: readonly NamedShape[], config: unknown, trained?: ReadonlySet<string>): Transformer {
  const found = readTransformer(entries, config, 'config.json', trained);
  if (!found || 'refused' in found) {
    throw new Error(found ? found.refused : 'no transformer');
  }
  return found;
}

/** Where a case's files are. */
export function transformerFolder(name: string): string {
  return join(TRANSFORMERS, name);
}
