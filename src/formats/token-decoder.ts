/**
 * What tokens of a vocabulary read as, by the decoder that their `tokenizer.json` names.
 *
 * The file is not ours, so only known types with checked fields are followed: no regular expression of the file is
 * ever compiled, and no text grows by decoding.
 */

/** A decoder of Hugging Face's `tokenizers`, its fields checked. */
export type TokenDecoder =
  | { readonly type: 'ByteLevel' | 'Fuse' }
  /** `isWhole`: bytes that follow each other are characters together or none is, as `tokenizers` has it. */
  | { readonly type: 'ByteFallback'; readonly isWhole: boolean }
  | { readonly type: 'WordPiece'; readonly prefix: string; readonly cleanup: boolean }
  | { readonly type: 'BPEDecoder'; readonly suffix: string }
  | { readonly type: 'Metaspace'; readonly replacement: string; readonly isPrepended: boolean }
  | { readonly type: 'Replace'; readonly pattern: string; readonly content: string }
  | { readonly type: 'Strip'; readonly content: string; readonly start: number; readonly stop: number }
  /** Not of the library: whole words, between which a space stands. */
  | { readonly type: 'Words' }
  | { readonly type: 'Sequence'; readonly decoders: readonly TokenDecoder[] };

/** For vocabularies of byte-level BPE that come without their decoder. */
export const BYTE_LEVEL: TokenDecoder = { type: 'ByteLevel' };

const DEEPEST = 4;
const MOST_DECODERS = 32;
const META_SPACE = '\u2581';

/** @param isPrepended whether the model puts a space before every text, which is none of the text */
export function sentencePieceDecoder(isPrepended: boolean): TokenDecoder {
  return sequence(
    replace(META_SPACE, ' '),
    { type: 'ByteFallback', isWhole: false },
    { type: 'Fuse' },
    { type: 'Strip', content: ' ', start: Number(isPrepended), stop: 0 },
  );
}

/** Told by how most are written: WordPiece marks what continues a word, other vocabularies mark where one starts. */
export function decoderByMarks(tokens: readonly string[]): TokenDecoder {
  const marked = (mark: RegExp): number => tokens.filter((token) => mark.test(token)).length;
  const [continued, started] = [marked(/^##[^#]/), marked(/[\u0120\u2581]/)];
  if (continued > started) {
    return { type: 'WordPiece', prefix: '##', cleanup: true };
  }
  if (started === 0) {
    return { type: 'Words' };
  }
  return tokens.includes('<0x0A>')
    ? sentencePieceDecoder(true)
    : sequence(replace('\u0120', ' '), replace(META_SPACE, ' '), replace('\u010A', '\n'));
}

/** @param suffix what the vocabulary writes at the end of words besides */
export function withEndOfWord(decoder: TokenDecoder, suffix: string): TokenDecoder {
  return sequence(decoder, { type: 'BPEDecoder', suffix });
}

function sequence(...decoders: TokenDecoder[]): TokenDecoder {
  return { type: 'Sequence', decoders };
}

/**
 * @param decoder the member of a `tokenizer.json`, of any type
 * @returns undefined for a decoder that is not known
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
    case 'Fuse':
      return { type: fields.type };
    case 'ByteFallback':
      return { type: 'ByteFallback', isWhole: true };
    case 'WordPiece':
      return { type: 'WordPiece', prefix: text('prefix', '##'), cleanup: fields.cleanup !== false };
    case 'BPEDecoder':
      return { type: 'BPEDecoder', suffix: text('suffix', '</w>') || '</w>' };
    case 'CTC':
      return replace(text('word_delimiter_token', '|'), ' ');
    case 'Metaspace':
      return {
        type: 'Metaspace',
        replacement: text('replacement', META_SPACE) || META_SPACE,
        isPrepended: fields.prepend_scheme !== 'never' && fields.add_prefix_space !== false,
      };
    case 'Replace': {
      const { pattern, content } = fields;
      const literal = typeof pattern === 'object' && pattern !== null && 'String' in pattern ? pattern.String : '';
      return replace(literal, content);
    }
    case 'Strip':
      return { type: 'Strip', content: text('content', ' '), start: count(fields.start), stop: count(fields.stop) };
    case 'Sequence':
      return checkSequence(fields.decoders, depth);
    default:
      return undefined;
  }
}

const NOTHING = sequence();

/** Regular expressions are not run, and neither is what makes a text longer. */
function replace(pattern: unknown, content: unknown): TokenDecoder {
  return typeof pattern === 'string' && typeof content === 'string' && pattern && content.length <= pattern.length
    ? { type: 'Replace', pattern, content }
    : NOTHING;
}

function replaced(text: string, { pattern, content }: { readonly pattern: string; readonly content: string }): string {
  // As a function: in a text, "$`" and its like would stand for what is around the pattern.
  return text.replaceAll(pattern, () => content);
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0;
}

function checkSequence(decoders: unknown, depth: number): TokenDecoder | undefined {
  if (!Array.isArray(decoders) || decoders.length > MOST_DECODERS) {
    return undefined;
  }
  const checked = (decoders as unknown[]).flatMap((own) => checkDecoder(own, depth + 1) ?? []);
  // Sequences in sequences are one, so that their lengths do not multiply.
  const all = checked.flatMap((own) => (own.type === 'Sequence' ? own.decoders : own));
  return checked.length === decoders.length && all.length <= MOST_DECODERS
    ? { type: 'Sequence', decoders: all }
    : undefined;
}

/**
 * What a token reads as wherever it stands in a text.
 *
 * @param token as the vocabulary writes it
 * @returns its text: a space before a word stays, and so does the mark of a continued one, as they tell two tokens
 *   apart; a part of a character reads as its bytes, as `<0xC3>`
 */
export function decodeToken(token: string, decoder: TokenDecoder): string {
  return decodeAlone(token, decoder) || token;
}

function decodeAlone(token: string, decoder: TokenDecoder): string {
  switch (decoder.type) {
    case 'Sequence':
      return decoder.decoders.reduce(decodeAlone, token);
    case 'ByteLevel': {
      const bytes = bytesOf(token);
      return bytes ? (isUtf8(bytes) ? joinBytes([bytes]).join('') : asBytes(bytes)) : token;
    }
    case 'ByteFallback': {
      const byte = byteOf(token);
      return byte !== undefined && byte < 0x80 ? String.fromCharCode(byte) : token;
    }
    case 'Metaspace':
      return token.replaceAll(decoder.replacement, ' ');
    case 'Replace':
      return replaced(token, decoder);
    case 'BPEDecoder':
      return token.replaceAll(decoder.suffix, ' ');
    case 'WordPiece':
    case 'Strip':
    case 'Fuse':
    case 'Words':
      return token;
  }
}

/** A token of a sequence. */
export interface SequenceToken {
  readonly written: string;
  /** It is a text already, such as one that was added to the vocabulary. */
  readonly isText: boolean;
}

/**
 * What a sequence of tokens reads as, in pieces that are one per token and, joined, its whole text.
 *
 * @returns as many as there are tokens. Of a character whose bytes are spread over tokens, the token that completes it
 *   has it, those before have an empty piece; bytes that are no character read as U+FFFD
 */
export function decodeSequence(tokens: readonly SequenceToken[], decoder: TokenDecoder): string[] {
  return applied({ pieces: tokens.map(({ written }) => written), isFused: false }, decoder, tokens).pieces;
}

/** Pieces of a sequence on the way through its decoders; after `Fuse` they are one text. */
interface Pieces {
  readonly pieces: string[];
  readonly isFused: boolean;
}

function applied(before: Pieces, decoder: TokenDecoder, tokens: readonly SequenceToken[]): Pieces {
  const { isFused } = before;
  const each = (change: (piece: string, at: number) => string): Pieces => ({
    isFused,
    pieces: before.pieces.map((piece, at) => (tokens[at]?.isText ? piece : change(piece, at))),
  });
  switch (decoder.type) {
    case 'Sequence':
      return decoder.decoders.reduce((pieces, own) => applied(pieces, own, tokens), before);
    case 'Fuse':
      return { ...before, isFused: true };
    case 'ByteLevel':
      return { isFused, pieces: joinBytes(before.pieces.map((piece, at) => bytesOfPiece(piece, tokens[at]))) };
    case 'ByteFallback':
      return { isFused, pieces: joinFallbackBytes(before.pieces, tokens, decoder.isWhole) };
    case 'Replace':
      return each((piece) => replaced(piece, decoder));
    case 'Metaspace':
      return each((piece, at) => piece.replaceAll(decoder.replacement, at === 0 && decoder.isPrepended ? '' : ' '));
    case 'BPEDecoder':
      return each((piece, at) => piece.replaceAll(decoder.suffix, at === tokens.length - 1 ? '' : ' '));
    case 'WordPiece': {
      const joined = before.pieces.map((piece, at) => joinWordPiece(piece, at, decoder.prefix));
      return { isFused, pieces: decoder.cleanup ? joined.map(withoutGap) : joined };
    }
    case 'Words':
      return { isFused, pieces: before.pieces.map((piece, at) => (at === 0 ? piece : ` ${piece}`)) };
    case 'Strip':
      return isFused
        ? { isFused, pieces: strippedWhole(before.pieces, decoder) }
        : each((piece) => strippedWhole([piece], decoder).join(''));
  }
}

function joinWordPiece(piece: string, at: number, prefix: string): string {
  if (at === 0) {
    return piece;
  }
  return prefix !== '' && piece.startsWith(prefix) ? piece.slice(prefix.length) : ` ${piece}`;
}

/** Before these English has no space; of a text whose words and marks were parted it is dropped. */
const CLOSING = ['.', '?', '!', ',', "n't", "'m", "'s", "'ve", "'re"].map((mark) => ` ${mark}`);

function withoutGap(piece: string): string {
  return CLOSING.some((mark) => piece.startsWith(mark)) ? piece.slice(1) : piece;
}

interface Strip {
  readonly content: string;
  readonly start: number;
  readonly stop: number;
}

/** Takes leading and trailing characters off a text that is in pieces. */
function strippedWhole(pieces: readonly string[], { content, start, stop }: Strip): string[] {
  if (content.length !== 1) {
    return [...pieces];
  }
  const text = pieces.join('');
  let [first, last] = [0, text.length];
  while (first < Math.min(start, text.length) && text[first] === content) {
    first++;
  }
  while (last > Math.max(first, text.length - stop) && text[last - 1] === content) {
    last--;
  }
  let from = 0;
  return pieces.map((piece) => {
    const own = piece.slice(Math.max(0, first - from), Math.max(0, last - from));
    from += piece.length;
    return own;
  });
}

/** @param parts bytes of each token; what ends within a character waits for the next */
function joinBytes(parts: readonly Uint8Array[]): string[] {
  const stream = new TextDecoder('utf-8', { ignoreBOM: true });
  return parts.map((bytes, at) => stream.decode(bytes, { stream: at < parts.length - 1 }));
}

function joinFallbackBytes(pieces: readonly string[], tokens: readonly SequenceToken[], isWhole: boolean): string[] {
  const bytes = pieces.map((piece, at) => (tokens[at]?.isText ? undefined : byteOf(piece)));
  const joined = [...pieces];
  for (let at = 0; at < pieces.length;) {
    let end = at;
    while (bytes[end] !== undefined) {
      end++;
    }
    const run = Uint8Array.from(bytes.slice(at, end).map(Number));
    const texts = isWhole && !isUtf8(run) ? Array.from(run, () => UNKNOWN) : charactersOf(run);
    texts.forEach((text, index) => (joined[at + index] = text));
    at = end + 1;
  }
  return joined;
}

const LONGEST_CHARACTER = 4;

/** One text per byte: a character at its last byte, nothing before, U+FFFD for a byte that is of none. */
function charactersOf(bytes: Uint8Array): string[] {
  const texts: string[] = [];
  while (texts.length < bytes.length) {
    const from = texts.length;
    const ends = Array.from({ length: LONGEST_CHARACTER }, (_, at) => from + at + 1);
    const end = ends.find((own) => own <= bytes.length && isUtf8(bytes.subarray(from, own)));
    texts.push(
      ...(end === undefined
        ? [UNKNOWN]
        : joinBytes(Array.from(bytes.subarray(from, end), (byte) => Uint8Array.of(byte)))),
    );
  }
  return texts;
}

/** What decoding puts in place of what is no character. */
const UNKNOWN = '\uFFFD';

function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
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

/** @returns undefined for what is not written as `<0xC3>` */
function byteOf(token: string): number | undefined {
  const digits = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1];
  return digits === undefined ? undefined : parseInt(digits, 16);
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

function bytesOfPiece(piece: string, token: SequenceToken | undefined): Uint8Array {
  return (token?.isText ? undefined : bytesOf(piece)) ?? new TextEncoder().encode(piece);
}
