import { readFileSync, statSync } from 'node:fs';
import { type AuditPaths, filesBeside } from '../../facts/inputs.js';

/** Texts of tokens and items, from the vocabulary files that lie beside models. */

export interface Vocabulary {
  readonly path: string;
  readonly texts: ReadonlyMap<number, string>;
}

const VOCABULARIES = ['tokenizer.json', 'vocab.json', 'vocab.txt', 'items.json'];
const MOST_BYTES = 64 * 2 ** 20;
/** Vocabularies are padded up to a round number, seldom by more. */
const LEAST_COVERED = 0.5;

/** The first vocabulary beside the gradient or the checkpoint that fits the number of rows. */
export function findVocabulary(paths: AuditPaths, entries: number): Vocabulary | undefined {
  for (const path of filesBeside(paths, VOCABULARIES)) {
    if (statSync(path).size <= MOST_BYTES) {
      const texts = parseVocabulary(path);
      if (texts && texts.size <= entries && texts.size >= LEAST_COVERED * entries) {
        return { path, texts };
      }
    }
  }
  return undefined;
}

/** Texts by id, from what Hugging Face tokenizers save; undefined for anything else. */
function parseVocabulary(path: string): Map<number, string> | undefined {
  const text = readFileSync(path, 'utf8');
  if (path.endsWith('.txt')) {
    return new Map(
      text
        .split(/\r?\n/)
        .filter(Boolean)
        .map((token, id) => [id, token]),
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const model = member(value, 'model');
  const texts = idsOf(member(model, 'vocab') ?? value);
  const added = member(value, 'added_tokens');
  for (const token of Array.isArray(added) ? (added as unknown[]) : []) {
    const [id, content] = [member(token, 'id'), member(token, 'content')];
    if (typeof id === 'number' && typeof content === 'string') {
      texts?.set(id, content);
    }
  }
  return texts;
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && name in value
    ? (value as Record<string, unknown>)[name]
    : undefined;
}

/** A map from text to id, or a list of texts (unigram models: of pairs of text and score). */
function idsOf(value: unknown): Map<number, string> | undefined {
  if (Array.isArray(value)) {
    return new Map(
      (value as unknown[]).map((item, id) => [id, readable(String(Array.isArray(item) ? item[0] : item))]),
    );
  }
  if (typeof value !== 'object' || value === null) {
    return undefined;
  }
  const entries = Object.entries(value).filter((entry): entry is [string, number] => typeof entry[1] === 'number');
  return new Map(entries.map(([text, id]) => [id, readable(text)]));
}

/** Byte-level and sentence-piece models write a space as another character. */
function readable(token: string): string {
  return token.replace(/[\u0120\u2581]/g, ' ').replace(/\u010A/g, '\n');
}
