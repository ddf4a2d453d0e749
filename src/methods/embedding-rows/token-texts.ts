import { Tokenizer } from '@huggingface/tokenizers';

/**
 * What tokens of a vocabulary read as, by the decoder that their `tokenizer.json` names.
 *
 * The file is not ours, so the library is given a decoder that is built anew here, of known types and
 * checked fields: no regular expression of the file is ever compiled, and no text grows by decoding.
 */

/** A decoder as the library takes it. */
export type TokenDecoder =
  | { readonly type: 'ByteLevel' | 'ByteFallback' | 'Fuse' }
  | { readonly type: 'WordPiece'; readonly prefix: string; readonly cleanup: false }
  | { readonly type: 'BPEDecoder'; readonly suffix: string }
  | { readonly type: 'Replace'; readonly pattern: { readonly String: string }; readonly content: string }
  | { readonly type: 'Sequence'; readonly decoders: readonly TokenDecoder[] };

/** For vocabularies of byte-level BPE that come without their decoder. */
export const BYTE_LEVEL: TokenDecoder = { type: 'ByteLevel' };

const DEEPEST = 4;
const MOST_DECODERS = 32;
const META_SPACE = '\u2581';

/**
 * @param decoder the member of a `tokenizer.json`, of any type
 * @returns undefined for what the library does not know
 */
export function checkDecoder(decoder: unknown, depth = 0): TokenDecoder | undefined {
  if (typeof decoder !== 'object' || decoder === null || depth > DEEPEST) {
    return undefined;
  }
  const fields = decoder as Record<string, unknown>;
  const text = (name: string, otherwise: string): string => {
    const own = fields[name];
    return typeof own === 'string' ? own : otherwise;
  };
  switch (fields.type) {
    case 'ByteLevel':
    case 'ByteFallback':
    case 'Fuse':
      return { type: fields.type };
    case 'WordPiece':
      return { type: 'WordPiece', prefix: text('prefix', '##'), cleanup: false };
    case 'BPEDecoder':
      return { type: 'BPEDecoder', suffix: text('suffix', '</w>') };
    case 'CTC':
      return replace(text('word_delimiter_token', '|'), ' ');
    case 'Metaspace':
      // Its own decoder takes the space off a text's first token; ours are tokens of anywhere in a text.
      return replace(text('replacement', META_SPACE), ' ');
    case 'Replace': {
      const { pattern, content } = fields;
      const literal = typeof pattern === 'object' && pattern !== null && 'String' in pattern ? pattern.String : '';
      return replace(literal, content);
    }
    case 'Strip':
      // The same for models that replace and strip.
      return NOTHING;
    case 'Sequence':
      return checkSequence(fields.decoders, depth);
    default:
      return undefined;
  }
}

const NOTHING: TokenDecoder = { type: 'Fuse' };

/** Regular expressions are not run, and neither is what makes a text longer. */
function replace(pattern: unknown, content: unknown): TokenDecoder {
  return typeof pattern === 'string' && typeof content === 'string' && pattern && content.length <= pattern.length
    ? { type: 'Replace', pattern: { String: pattern }, content }
    : NOTHING;
}

function checkSequence(decoders: unknown, depth: number): TokenDecoder | undefined {
  if (!Array.isArray(decoders) || decoders.length > MOST_DECODERS) {
    return undefined;
  }
  const checked = (decoders as unknown[]).flatMap((own) => checkDecoder(own, depth + 1) ?? []);
  return checked.length === decoders.length ? { type: 'Sequence', decoders: checked } : undefined;
}

/**
 * @param tokens as the vocabulary writes them
 * @param suffix what the vocabulary writes at the end of words
 * @returns their texts; a part of a character reads as its bytes, as `<0xC3>`
 */
export function decodeTokens(tokens: readonly string[], decoder: TokenDecoder, suffix: string | undefined): string[] {
  const distinct = [...new Set(tokens)];
  const tokenizer = new Tokenizer(
    {
      model: {
        // A carrier of these tokens alone: decoding asks the model only for a token by its number.
        type: 'BPE',
        vocab: Object.fromEntries(distinct.map((token, at) => [token, at])),
        merges: [],
        end_of_word_suffix: suffix,
      },
      decoder,
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
    },
    {},
  );
  const isByteLevel = includesByteLevel(decoder);
  const texts = new Map(
    distinct.map((token, at): [string, string] => {
      const bytes = isByteLevel ? bytesOf(token) : undefined;
      if (isByteLevel && !bytes) {
        return [token, token];
      }
      const text = tokenizer.decode([at], { clean_up_tokenization_spaces: false });
      const isWhole = text !== '' && !(text.includes(UNKNOWN) && !isUtf8(bytes));
      return [token, isWhole ? text : bytes ? asBytes(bytes) : token];
    }),
  );
  return tokens.map((token) => texts.get(token) ?? token);
}

function includesByteLevel(decoder: TokenDecoder): boolean {
  return decoder.type === 'Sequence' ? decoder.decoders.some(includesByteLevel) : decoder.type === 'ByteLevel';
}

/** What decoding puts in place of what is no character. */
const UNKNOWN = '\uFFFD';

function isUtf8(bytes: Uint8Array | undefined): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes ?? Uint8Array.of(0xff));
    return true;
  } catch {
    return false;
  }
}

function asBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) =>
    byte < 0x80 ? String.fromCharCode(byte) : `<0x${byte.toString(16).toUpperCase()}>`,
  ).join('');
}

/** Byte-level BPE writes printable bytes of Latin-1 as themselves, and the others as characters from U+0100 on. */
const BYTES = new Map<string, number>();
for (let byte = 0, next = 0x100; byte < 0x100; byte++) {
  const isPrintable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  BYTES.set(String.fromCharCode(isPrintable ? byte : next++), byte);
}

/** @returns undefined for a token that is not written in bytes, such as an added one */
function bytesOf(token: string): Uint8Array | undefined {
  const bytes = Array.from(token, (character) => BYTES.get(character));
  return bytes.every((byte) => byte !== undefined) ? Uint8Array.from(bytes) : undefined;
}
