import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { parseJson, readBounded } from './json-file.js';
import { PIECE_TYPE, readSentencePieces } from './sentencepiece.js';
import {
  BYTE_LEVEL,
  type TokenDecoder,
  checkDecoder,
  decoderByMarks,
  sentencePieceDecoder,
  withEndOfWord,
} from './token-decoder.js';

/** Vocabularies of tokenizers and lists of items, as files: which token has which id, and how tokens are read. */

export interface VocabularyFile {
  /** Tokens by id, as the vocabulary writes them. */
  readonly written: ReadonlyMap<number, string>;
  /** Tokens that are texts already. */
  readonly added: ReadonlyMap<number, string>;
  readonly decoder: TokenDecoder;
}

/** Names of such files, those that say most first. */
export const VOCABULARY_NAMES = ['tokenizer.json', 'tokenizer.model', 'vocab.json', 'vocab.txt', 'items.json'];
const MOST_BYTES = 64 * 2 ** 20;

/** @returns undefined for anything else: texts are a convenience, and an audit does without */
export function readVocabulary(path: string): VocabularyFile | undefined {
  try {
    const bytes = readBounded(path, MOST_BYTES);
    switch (path.slice(path.lastIndexOf('.'))) {
      case '.txt':
        return linesOf(bytes);
      case '.model':
        return piecesOf(bytes);
      default:
        return tokensOf(path, parseJson(bytes));
    }
  } catch {
    return undefined;
  }
}

function linesOf(bytes: Buffer): VocabularyFile {
  const lines = bytes.toString('utf8').split(/\r?\n/).filter(Boolean);
  return { written: new Map(lines.entries()), added: new Map(), decoder: decoderByMarks(lines) };
}

function piecesOf(bytes: Buffer): VocabularyFile | undefined {
  const { pieces, hasDummyPrefix } = readSentencePieces(bytes);
  const isText = (type: number): boolean => Object.values<number>(PIECE_TYPE).includes(type);
  const entries = pieces.map(({ text, type }, id) => ({ id, text, isText: isText(type) }));
  const mapOf = (areTexts: boolean): Map<number, string> =>
    new Map(entries.filter((entry) => entry.isText === areTexts).map(({ id, text }) => [id, text]));
  return pieces.length === 0
    ? undefined
    : { written: mapOf(false), added: mapOf(true), decoder: sentencePieceDecoder(hasDummyPrefix) };
}

function tokensOf(path: string, value: unknown): VocabularyFile | undefined {
  const written = idsOf(member(member(value, 'model'), 'vocab') ?? value);
  if (!written) {
    return undefined;
  }
  const added = addedTokens(member(value, 'added_tokens'));
  const decoder = decoderOf(path, value, written);
  return decoder && { written, added, decoder };
}

/** @returns undefined for a decoder that the file names and that is not known */
function decoderOf(path: string, value: unknown, written: ReadonlyMap<number, string>): TokenDecoder | undefined {
  const named = member(value, 'decoder');
  if (named === undefined) {
    return isByteLevelPair(path, written) ? BYTE_LEVEL : decoderByMarks([...written.values()]);
  }
  const decoder = checkDecoder(named);
  const endOfWord = member(member(value, 'model'), 'end_of_word_suffix');
  return decoder && typeof endOfWord === 'string' && endOfWord !== '' ? withEndOfWord(decoder, endOfWord) : decoder;
}

/** `vocab.json` and `merges.txt` of byte-level BPE, which alone writes a space as U+0120. */
function isByteLevelPair(path: string, written: ReadonlyMap<number, string>): boolean {
  return (
    basename(path) === 'vocab.json' &&
    existsSync(join(dirname(path), 'merges.txt')) &&
    [...written.values()].some((token) => token.includes('\u0120'))
  );
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? ((value as Record<string, unknown>)[name] ?? undefined)
    : undefined;
}

function addedTokens(value: unknown): Map<number, string> {
  const added = new Map<number, string>();
  for (const token of Array.isArray(value) ? (value as unknown[]) : []) {
    const [id, content] = [member(token, 'id'), member(token, 'content')];
    if (isId(id) && typeof content === 'string') {
      added.set(id, content);
    }
  }
  return added;
}

/** A map from text to id, or a list of texts (unigram models: of pairs of text and score). */
function idsOf(value: unknown): Map<number, string> | undefined {
  if (Array.isArray(value)) {
    return new Map(
      (value as unknown[]).flatMap((item, id): [number, string][] => {
        const text: unknown = Array.isArray(item) ? item[0] : item;
        return typeof text === 'string' || typeof text === 'number' ? [[id, String(text)]] : [];
      }),
    );
  }
  if (typeof value !== 'object' || value === null) {
    return undefined;
  }
  return new Map(
    Object.entries(value).flatMap(([text, id]: [string, unknown]): [number, string][] =>
      isId(id) ? [[id, text]] : [],
    ),
  );
}

function isId(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
