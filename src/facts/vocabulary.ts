import { decodeSequence, decodeToken } from '../formats/token-decoder.js';
import { VOCABULARY_NAMES, type VocabularyFile, readVocabulary } from '../formats/vocabulary-file.js';
import { type AuditPaths, filesBeside } from './inputs.js';

/** Texts of tokens and items, from the vocabulary files that lie beside models. */

export interface Vocabulary {
  readonly path: string;
  /** What each token reads as by itself, undefined for an id that the vocabulary lacks. Only these are decoded. */
  textsOf(ids: readonly number[]): (string | undefined)[];
  /**
   * What a sequence of tokens reads as, in one piece per token: joined, they are its whole text. Of a character whose
   * bytes are spread over tokens, the token that completes it has it, and those before have an empty piece; an id that
   * the vocabulary lacks reads as `<17>`.
   */
  piecesOf(ids: readonly number[]): string[];
}

/** Vocabularies are padded up to a round number, seldom by more. */
const LEAST_COVERED = 0.5;
/** A text that is longer is cut. */
const MOST_CHARACTERS = 256;

/** The first vocabulary beside the gradient or the checkpoint that fits the number of rows. */
export function findVocabulary(paths: AuditPaths, entries: number): Vocabulary | undefined {
  for (const path of filesBeside(paths, VOCABULARY_NAMES)) {
    const file = readVocabulary(path);
    if (file && fits(file, entries)) {
      return { path, textsOf: (ids) => textsOf(file, ids), piecesOf: (ids) => piecesOf(file, ids) };
    }
  }
  return undefined;
}

function fits({ written, added }: VocabularyFile, entries: number): boolean {
  const size = written.size + [...added.keys()].filter((id) => !written.has(id)).length;
  return size <= entries && size >= LEAST_COVERED * entries;
}

function textsOf({ written, added, decoder }: VocabularyFile, ids: readonly number[]): (string | undefined)[] {
  return ids.map((id) => {
    const text = added.get(id);
    const token = written.get(id);
    if (text !== undefined) {
      return cut(text);
    }
    return token === undefined ? undefined : decodeToken(cut(token), decoder);
  });
}

function piecesOf({ written, added, decoder }: VocabularyFile, ids: readonly number[]): string[] {
  const tokens = ids.map((id) => {
    const text = added.get(id);
    const token = text ?? written.get(id);
    return { written: token === undefined ? `<${id}>` : cut(token), isText: text !== undefined || token === undefined };
  });
  return decodeSequence(tokens, decoder);
}

function cut(text: string): string {
  return text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS - 1)}…` : text;
}
