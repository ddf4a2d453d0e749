import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { parseJson, readBounded } from '../../formats/json-file.js';
import { type AuditPaths, filesBeside } from '../../facts/inputs.js';
import { BYTE_LEVEL, type TokenDecoder, checkDecoder, decodeTokens } from './token-texts.js';

/** Texts of tokens and items, from the vocabulary files that lie beside models. */

export interface Vocabulary {
  readonly path: string;
  /** Texts by id, undefined for an id that the vocabulary lacks. Only these are decoded. */
  textsOf(ids: readonly number[]): (string | undefined)[];
}

const VOCABULARIES = ['tokenizer.json', 'vocab.json', 'vocab.txt', 'items.json'];
const MOST_BYTES = 64 * 2 ** 20;
/** Vocabularies are padded up to a round number, seldom by more. */
const LEAST_COVERED = 0.5;
/** A text that is longer is cut. */
const MOST_CHARACTERS = 256;

/** The first vocabulary beside the gradient or the checkpoint that fits the number of rows. */
export function findVocabulary(paths: AuditPaths, entries: number): Vocabulary | undefined {
  for (const path of filesBeside(paths, VOCABULARIES)) {
    const tokens = readTokens(path);
    if (tokens && fits(tokens, entries)) {
      return { path, textsOf: (ids) => textsOf(tokens, ids) };
    }
  }
  return undefined;
}

interface Tokens {
  /** Tokens as the vocabulary writes them. */
  readonly written: ReadonlyMap<number, string>;
  /** Tokens that are texts already. */
  readonly added: ReadonlyMap<number, string>;
  readonly decoder?: TokenDecoder;
  readonly endOfWord?: string | undefined;
}

function fits({ written, added }: Tokens, entries: number): boolean {
  const size = written.size + [...added.keys()].filter((id) => !written.has(id)).length;
  return size <= entries && size >= LEAST_COVERED * entries;
}

function textsOf({ written, added, decoder, endOfWord }: Tokens, ids: readonly number[]): (string | undefined)[] {
  const asked = ids.flatMap((id) => {
    const token = added.has(id) ? undefined : written.get(id);
    return token === undefined ? [] : [{ id, token: cut(token) }];
  });
  const tokens = asked.map(({ token }) => token);
  const texts = decoder ? decodeTokens(tokens, decoder, endOfWord) : tokens.map(readable);
  const byId = new Map(asked.map(({ id }, at) => [id, texts[at]]));
  return ids.map((id) => {
    const text = added.get(id);
    return text === undefined ? byId.get(id) : cut(text);
  });
}

function cut(text: string): string {
  return text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS - 1)}…` : text;
}

/** What Hugging Face tokenizers save; undefined for anything else: texts are a convenience, and an audit does without. */
function readTokens(path: string): Tokens | undefined {
  let value: unknown;
  try {
    const bytes = readBounded(path, MOST_BYTES);
    if (path.endsWith('.txt')) {
      const lines = bytes.toString('utf8').split(/\r?\n/).filter(Boolean);
      return { written: new Map(lines.map((token, id) => [id, token])), added: new Map() };
    }
    value = parseJson(bytes);
  } catch {
    return undefined;
  }
  const model = member(value, 'model');
  const written = idsOf(member(model, 'vocab') ?? value);
  if (!written) {
    return undefined;
  }
  const added = addedTokens(member(value, 'added_tokens'));
  const decoder = member(value, 'decoder') ?? (isByteLevelPair(path, written) ? BYTE_LEVEL : undefined);
  if (decoder === undefined) {
    return { written, added };
  }
  const checked = checkDecoder(decoder);
  const endOfWord = member(model, 'end_of_word_suffix');
  return (
    checked && {
      written,
      added,
      decoder: checked,
      endOfWord: typeof endOfWord === 'string' && endOfWord !== '' ? endOfWord : undefined,
    }
  );
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

/** Without a decoder: byte-level and sentence-piece models write a space as another character. */
function readable(token: string): string {
  return token.replace(/[\u0120\u2581]/g, ' ').replace(/\u010A/g, '\n');
}
