import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { EmbeddingReport } from '../protocol/report.js';
import { type TensorFile, elementCount } from '../formats/tensor-file.js';
import { touchedRows } from '../recovery/embedding-rows.js';
import { stem } from './head-structure.js';
import type { AuditPaths } from './inputs.js';
import type { Matching, TensorPair } from './matching.js';

/** Which tokens or items a gradient's embeddings give away, with their texts where a vocabulary is at hand. */

const NAMED = /(^|[._/])(embed\w*|\w*embeddings?|wte|wpe|tok_emb|pos_emb|word_emb\w*)([._/]|$)/i;
const POSITIONS = /(pos|wpe)/i;
/** Which sentence of a pair a token is in: neither a token nor a place. */
const SEGMENTS = /(token_type|segment)/i;
/** With more touched rows than this share, the gradient is dense: a tied head, or noise. */
const FEW = 0.5;
/** A matrix that is not called an embedding is taken for one when far fewer rows are touched, and there are many. */
const VERY_FEW = 0.1;
const MANY_ROWS = 256;
const MOST_ELEMENTS = 2 ** 27;
const MOST_LISTED = 4096;

/**
 * Embeddings with few touched rows, in the order of the file.
 *
 * @param headWeight the head, or the embedding that the head is tied to: its rows are of all classes and tell of no look-up
 * @throws UnusableInputError when a gradient cannot be read
 */
export function findEmbeddings(
  matching: Matching,
  gradients: TensorFile,
  paths: AuditPaths,
  headWeight: string | undefined,
): EmbeddingReport[] {
  const biased = new Set(
    matching.pairs.filter(({ parameter }) => parameter.shape.length === 1).map(({ parameter }) => stem(parameter.name)),
  );
  return matching.pairs.flatMap((pair): EmbeddingReport[] => {
    const { parameter, gradient } = pair;
    const [rows = 0, width = 0] = parameter.shape;
    const isNamed = NAMED.test(parameter.name);
    const isCandidate =
      parameter.shape.length === 2 &&
      parameter.name !== headWeight &&
      !SEGMENTS.test(parameter.name) &&
      elementCount(parameter.shape) <= MOST_ELEMENTS &&
      (isNamed || (rows >= MANY_ROWS && !biased.has(stem(parameter.name))));
    if (!isCandidate) {
      return [];
    }
    const touched = touchedRows({ rows, cols: width, data: gradients.read(gradient.name).data });
    if (touched.length === 0 || touched.length > (isNamed ? FEW : VERY_FEW) * rows) {
      return [];
    }
    return [describe(pair, touched, paths)];
  });
}

function describe({ parameter }: TensorPair, touched: readonly number[], paths: AuditPaths): EmbeddingReport {
  const [entries = 0, width = 0] = parameter.shape;
  const what = POSITIONS.test(parameter.name) ? 'positions' : 'tokens';
  const vocabulary = what === 'tokens' ? findVocabulary(paths, entries) : undefined;
  const rows = touched.slice(0, MOST_LISTED);
  return {
    tensor: parameter.name,
    what,
    entries,
    width,
    touched: touched.length,
    rows,
    ...(vocabulary ? { vocabulary: vocabulary.path, texts: rows.map((row) => vocabulary.texts.get(row) ?? '?') } : {}),
  };
}

interface Vocabulary {
  readonly path: string;
  readonly texts: ReadonlyMap<number, string>;
}

const VOCABULARIES = ['tokenizer.json', 'vocab.json', 'vocab.txt', 'items.json'];
const MOST_BYTES = 64 * 2 ** 20;
/** Vocabularies are padded up to a round number, seldom by more. */
const LEAST_COVERED = 0.5;

/** The first vocabulary beside the gradient or the checkpoint that fits the number of rows. */
function findVocabulary(paths: AuditPaths, entries: number): Vocabulary | undefined {
  const folders = [...new Set([dirname(paths.gradients), dirname(paths.checkpoint)])];
  for (const path of folders.flatMap((folder) => VOCABULARIES.map((name) => join(folder, name)))) {
    if (existsSync(path) && statSync(path).size <= MOST_BYTES) {
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
