import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Vocabulary, findVocabulary } from '../../../src/facts/vocabulary.js';

/** Texts of whole sequences, against what the tokenizers' own libraries read (test/fixtures/make_vocabulary_fixtures.py). */

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures', 'vocabularies');

interface Expected {
  size: number;
  sequences: { ids: number[]; text: string }[];
}

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradleak-sequences-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function expectedOf(name: string): Expected {
  return JSON.parse(readFileSync(join(FIXTURES, name, 'expected.json'), 'utf8')) as Expected;
}

function vocabularyIn(where: string, entries: number): Vocabulary | undefined {
  return findVocabulary({ gradients: join(where, 'gradient.pt') }, entries);
}

/** Of a vocabulary that is written as a `tokenizer.json`. */
function piecesOf(tokens: readonly string[], decoder: unknown, ids: readonly number[], more: object = {}): string[] {
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify({ model: { vocab }, decoder, ...more }));
  return vocabularyIn(folder, tokens.length + 1)!.piecesOf(ids);
}

describe.each(['byte-level', 'word-piece', 'metaspace', 'byte-fallback', 'sentencepiece'])('%s', (name) => {
  const { size, sequences } = expectedOf(name);

  it.each(sequences)('reads as its own library does: $text', ({ ids, text }) => {
    const pieces = vocabularyIn(join(FIXTURES, name), size)!.piecesOf(ids);
    expect(pieces).toHaveLength(ids.length);
    expect(pieces.join('')).toBe(text);
  });
});

it('vocab.txt of WordPiece reads as its tokenizer.json', () => {
  const { size, sequences } = expectedOf('word-piece');
  const file = JSON.parse(readFileSync(join(FIXTURES, 'word-piece', 'tokenizer.json'), 'utf8')) as {
    model: { vocab: Record<string, number> };
  };
  const { vocab } = file.model;
  const lines = Object.keys(vocab).sort((one, other) => vocab[one]! - vocab[other]!);
  writeFileSync(join(folder, 'vocab.txt'), lines.join('\n'));
  const vocabulary = vocabularyIn(folder, size)!;
  expect(sequences.map(({ ids }) => vocabulary.piecesOf(ids).join(''))).toEqual(sequences.map(({ text }) => text));
});

describe('pieces', () => {
  it('the token that completes a character has it', () => {
    // The three bytes of U+65E5 in three tokens, and the two of U+00E9 in two.
    const tokens = ['æ', 'Ĺ', '¥', 'Ã', '©a', 'Ġb'];
    expect(piecesOf(tokens, { type: 'ByteLevel' }, [0, 1, 2, 3, 4, 5])).toEqual(['', '', '日', '', 'éa', ' b']);
    expect(piecesOf(tokens, { type: 'ByteLevel' }, [0, 5, 3])).toEqual(['', '\uFFFD b', '\uFFFD']);
  });

  it('bytes that are no character together are none at all', () => {
    const tokens = ['<0xE6>', '<0x97>', '<0xA5>', '▁a'];
    const decoder = { type: 'ByteFallback' };
    expect(piecesOf(tokens, decoder, [0, 1, 2, 3])).toEqual(['', '', '日', '▁a']);
    expect(piecesOf(tokens, decoder, [0, 1, 3, 2])).toEqual(['\uFFFD', '\uFFFD', '▁a', '\uFFFD']);
  });

  it('added tokens and ids that the vocabulary lacks are in their place', () => {
    const added = { added_tokens: [{ id: 2, content: '<|é Ġ|>', special: true }] };
    expect(piecesOf(['a', 'Ġb'], { type: 'ByteLevel' }, [0, 2, 7, 1], added)).toEqual(['a', '<|é Ġ|>', '<7>', ' b']);
  });

  it('a model that puts no space before a text takes none off it', () => {
    const tokens = ['▁a', '▁b'];
    const spaced = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' };
    expect(piecesOf(tokens, spaced, [0, 1])).toEqual(['a', ' b']);
    expect(piecesOf(tokens, { ...spaced, prepend_scheme: 'never' }, [0, 1])).toEqual([' a', ' b']);
    expect(piecesOf(tokens, { ...spaced, add_prefix_space: false }, [0, 1])).toEqual([' a', ' b']);
  });

  it("CLIP's words end where its suffix stands", () => {
    const model = { vocab: { 'a</w>': 0, cat: 1, 's</w>': 2 }, end_of_word_suffix: '</w>' };
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify({ model, decoder: { type: 'ByteLevel' } }));
    expect(vocabularyIn(folder, 3)!.piecesOf([0, 1, 2])).toEqual(['a ', 'cat', 's']);
  });

  it('whole words and items have spaces between them', () => {
    writeFileSync(join(folder, 'items.json'), JSON.stringify(['Alien', 'Up']));
    expect(vocabularyIn(folder, 2)!.piecesOf([1, 0, 1])).toEqual(['Up', ' Alien', ' Up']);
  });

  it('a vocabulary without a decoder that marks spaces is read by its marks', () => {
    expect(piecesOf(['Ġa', 'b', 'Ċ'], null, [0, 1, 2, 0])).toEqual([' a', 'b', '\n', ' a']);
    // Headings of Markdown are no parts of words.
    const llama = ['▁a', '<0x0A>', '##', '###', '▁b', '<0xC3>', '<0xA9>'];
    expect(piecesOf(llama, null, [0, 4, 1, 3, 5, 6])).toEqual(['a', ' b', '\n', '###', '', 'é']);
  });
});

describe('hostile vocabularies', () => {
  it('runs no regular expression, lets no text grow, and strips no more than there is', () => {
    const decoders = [
      { type: 'Replace', pattern: { Regex: '^(a+)+$' }, content: 'x' },
      { type: 'Replace', pattern: { String: 'a' }, content: 'aa' },
      { type: 'Strip', content: 'b', start: 1e300, stop: -1 },
      { type: 'Fuse' },
      { type: 'Strip', content: 'c', start: 2 ** 40, stop: 2 ** 40 },
    ];
    const long = `${'a'.repeat(60)}!`;
    const tokens = [long, 'bb', 'ccc'];
    expect(piecesOf(tokens, { type: 'Sequence', decoders }, [2, 0, 1, 2])).toEqual(['', long, 'bb', '']);
  });

  it('takes what replaces a pattern word for word', () => {
    const grow = { type: 'Replace', pattern: { String: 'bb' }, content: '$`' };
    expect(piecesOf(['abba', 'bb'], grow, [0, 1])).toEqual(['a$`a', '$`']);
    expect(vocabularyIn(folder, 2)!.textsOf([0])).toEqual(['a$`a']);
  });

  it('takes sequences of sequences for one, whose length is bounded', () => {
    const nested = (inner: unknown): unknown => ({ type: 'Sequence', decoders: Array(8).fill(inner) });
    writeFileSync(
      join(folder, 'tokenizer.json'),
      JSON.stringify({ model: { vocab: { a: 0 } }, decoder: nested(nested({ type: 'Fuse' })) }),
    );
    expect(vocabularyIn(folder, 1)).toBeUndefined();
  });

  it('cuts long tokens', () => {
    expect(piecesOf(['a'.repeat(100_000)], { type: 'Fuse' }, [0, 0])).toEqual(Array(2).fill(`${'a'.repeat(255)}…`));
  });

  describe('tokenizer.model', () => {
    const write = (bytes: readonly number[]): void => {
      writeFileSync(join(folder, 'tokenizer.model'), Uint8Array.from(bytes));
    };
    /** A piece: field 1, with its text in field 1. */
    const piece = (text: string): number[] => {
      const bytes = [...Buffer.from(text)];
      return [0x0a, bytes.length + 2, 0x0a, bytes.length, ...bytes];
    };

    it('is read by its fields alone', () => {
      write([...piece('▁a'), 0x12, 1, 0xff, ...piece('b')]);
      const vocabulary = vocabularyIn(folder, 2)!;
      expect(vocabulary.piecesOf([0, 1, 0])).toEqual(['a', 'b', ' a']);
      expect(vocabulary.textsOf([0, 1, 2])).toEqual([' a', 'b', undefined]);
    });

    it('keeps the first space where the model adds none', () => {
      // Field 3, normalizer_spec, with add_dummy_prefix (3) false.
      write([...piece('▁a'), 0x1a, 2, 0x18, 0]);
      expect(vocabularyIn(folder, 1)!.piecesOf([0, 0])).toEqual([' a', ' a']);
    });

    it.each<[string, number[]]>([
      ['nothing', []],
      ['a cut piece', piece('abc').slice(0, -1)],
      ['a length beyond the file', [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]],
      ['groups in groups', Array<number>(100_000).fill(0x0b)],
      ['an endless number', [0x08, ...Array<number>(20).fill(0xff)]],
      ['text that is no UTF-8', [0x0a, 3, 0x0a, 1, 0xff]],
      ['field 0', [0x02, 0]],
      ["tiktoken's lines", [...Buffer.from('IQ== 0\nIg== 1\nIw== 2\n')]],
    ])('%s is no vocabulary', (_, bytes) => {
      write(bytes);
      expect(vocabularyIn(folder, 1)).toBeUndefined();
    });

    it('counts pieces before it keeps them, and opens no huge file', () => {
      const empty = new Uint8Array(2 * (2 ** 21 + 1)).map((_, at) => (at % 2 === 0 ? 0x0a : 0));
      writeFileSync(join(folder, 'tokenizer.model'), empty);
      expect(vocabularyIn(folder, 2 ** 21 + 1)).toBeUndefined();
      truncateSync(join(folder, 'tokenizer.model'), 2 ** 30);
      expect(vocabularyIn(folder, 1)).toBeUndefined();
    });

    it('comes after tokenizer.json', () => {
      copyFileSync(join(FIXTURES, 'sentencepiece', 'tokenizer.model'), join(folder, 'tokenizer.model'));
      const { size } = expectedOf('sentencepiece');
      expect(vocabularyIn(folder, size)!.path).toContain('tokenizer.model');
      writeFileSync(
        join(folder, 'tokenizer.json'),
        JSON.stringify({ model: { vocab: Array.from({ length: size }, (_, id) => `t${id}`) } }),
      );
      expect(vocabularyIn(folder, size)!.path).toContain('tokenizer.json');
    });
  });
});
