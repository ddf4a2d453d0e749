import protobuf from 'protobufjs/light.js';

/** What is read of a SentencePiece model (sentencepiece_model.proto): its pieces, not how texts are split into them. */

export interface SentencePieces {
  /** By id. */
  readonly pieces: readonly SentencePiece[];
  /** Every text was given a space in front before it was split. */
  readonly hasDummyPrefix: boolean;
}

export interface SentencePiece {
  readonly text: string;
  readonly type: number;
}

/** Types of pieces that are written as they are, whatever the model writes for a space. */
export const PIECE_TYPE = { unknown: 2, control: 3, userDefined: 4 } as const;
const NORMAL = 1;

/** Many times what any model has; a file of nothing but empty pieces would take far more memory than its bytes. */
const MOST_PIECES = 2 ** 21;

const FIELD = { pieces: 1, normaliser: 3 } as const;
const PIECE_FIELD = { text: 1, type: 3 } as const;
const NORMALISER_FIELD = { dummyPrefix: 3 } as const;
const LENGTH_DELIMITED = 2;

/** @throws Error when the bytes are no such message, or hold more pieces than any model */
export function readSentencePieces(bytes: Uint8Array): SentencePieces {
  const pieces: SentencePiece[] = [];
  let hasDummyPrefix = true;
  // Field by field: the library's own decoding would build every piece before they can be counted.
  for (const field of fieldsOf(protobuf.Reader.create(bytes))) {
    if (field.id === FIELD.pieces && field.message) {
      if (pieces.length === MOST_PIECES) {
        throw new Error(`more than ${MOST_PIECES} pieces`);
      }
      pieces.push(readPiece(field.message));
    } else if (field.id === FIELD.normaliser && field.message) {
      hasDummyPrefix = readDummyPrefix(field.message);
    }
  }
  return { pieces, hasDummyPrefix };
}

function readPiece(bytes: Uint8Array): SentencePiece {
  let [text, type] = ['', NORMAL];
  for (const { id, message, number } of fieldsOf(protobuf.Reader.create(bytes))) {
    if (id === PIECE_FIELD.text && message) {
      text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(message);
    } else if (id === PIECE_FIELD.type && number !== undefined) {
      type = number;
    }
  }
  return { text, type };
}

function readDummyPrefix(bytes: Uint8Array): boolean {
  let is = true;
  for (const { id, number } of fieldsOf(protobuf.Reader.create(bytes))) {
    if (id === NORMALISER_FIELD.dummyPrefix && number !== undefined) {
      is = number !== 0;
    }
  }
  return is;
}

interface WireField {
  readonly id: number;
  /** Of a length-delimited field, a view of its bytes. */
  readonly message?: Uint8Array;
  /** Of a varint, its low 32 bits. */
  readonly number?: number;
}

/** Fields of a message in their order. Groups, which nothing writes any more and which nest, are an error. */
function* fieldsOf(reader: protobuf.Reader): Generator<WireField> {
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    const [id, wireType] = [tag >>> 3, tag & 7];
    if (id === 0 || wireType === 3 || wireType === 4) {
      throw new Error('a field that is none');
    }
    if (wireType === LENGTH_DELIMITED) {
      yield { id, message: reader.bytes() };
    } else if (wireType === 0) {
      yield { id, number: reader.uint32() };
    } else {
      reader.skipType(wireType);
    }
  }
}
