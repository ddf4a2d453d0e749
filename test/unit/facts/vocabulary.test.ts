import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findVocabulary } from '../../../src/facts/vocabulary.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradleak-vocabulary-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function write(name: string, value: unknown): void {
  writeFileSync(join(folder, name), typeof value === 'string' ? value : JSON.stringify(value));
}

/** Texts of the ids from 0 on, by the files in the folder. */
function texts(entries: number): (string | undefined)[] | undefined {
  const paths = { checkpoint: join(folder, 'checkpoint.pt'), gradients: join(folder, 'gradient.pt') };
  return findVocabulary(paths, entries)?.textsOf(Array.from({ length: entries }, (_, id) => id));
}

const numbered = (tokens: readonly string[]): Record<string, number> =>
  Object.fromEntries(tokens.map((token, id) => [token, id]));
const bpe = (tokens: readonly string[], more: object = {}): object => ({
  model: { type: 'BPE', vocab: numbered(tokens), merges: ['a b'] },
  decoder: { type: 'ByteLevel' },
  ...more,
});
const LLAMA = {
  type: 'Sequence',
  decoders: [
    { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    { type: 'Strip', content: ' ', start: 1, stop: 0 },
  ],
};
/** Matching it against a few dozen letters a takes longer than anyone waits. */
const SLOW = { Regex: '^(a+)+$' };

describe('byte-level BPE', () => {
  it('reads as the text that its bytes are', () => {
    write('tokenizer.json', bpe(['Ã©', 'æĹ¥', 'Ġ', 'Ċ', 'Ġhello', 'Ġ.', 'ĠÐ¼Ð¸ÑĢ']));
    expect(texts(7)).toEqual(['é', '日', ' ', '\n', ' hello', ' .', ' мир']);
  });

  it('shows parts of characters as their bytes', () => {
    write('tokenizer.json', bpe(['Ã', 'ĠæĹ', '©', 'ï¿½']));
    expect(texts(4)).toEqual(['<0xC3>', ' <0xE6><0x97>', '<0xA9>', '\uFFFD']);
  });

  it('leaves added tokens and what is not written in bytes as they are', () => {
    write('tokenizer.json', bpe(['a', '日'], { added_tokens: [{ id: 2, content: '<|é Ġ|>', special: true }] }));
    expect(texts(4)).toEqual(['a', '日', '<|é Ġ|>', undefined]);
  });

  it("ends CLIP's words with a space", () => {
    write('tokenizer.json', {
      model: { type: 'BPE', vocab: numbered(['cat</w>', 'cat']), merges: [], end_of_word_suffix: '</w>' },
      decoder: { type: 'ByteLevel' },
    });
    expect(texts(2)).toEqual(['cat ', 'cat']);
  });

  it('is told by merges.txt beside vocab.json', () => {
    write('vocab.json', numbered(['Ã©', 'Ġhello', 'Ċ']));
    expect(texts(3)).toEqual(['Ã©', ' hello', '\n']);
    write('merges.txt', '#version: 0.2\nÃ ©\n');
    expect(texts(3)).toEqual(['é', ' hello', '\n']);
  });

  it('is not told by merges.txt of characters', () => {
    write('vocab.json', numbered(['é</w>', 'hello</w>']));
    write('merges.txt', '#version: 0.2\nh e\n');
    expect(texts(2)).toEqual(['é</w>', 'hello</w>']);
  });

  it('decodes only what is asked for', () => {
    write('tokenizer.json', bpe(Array.from({ length: 50_000 }, (_, id) => `Ġ${id}`)));
    const found = findVocabulary({ checkpoint: join(folder, 'c.pt'), gradients: join(folder, 'g.pt') }, 50_257);
    expect(found?.textsOf([49_999, 7, 7, 50_100])).toEqual([' 49999', ' 7', ' 7', undefined]);
  });
});

describe('sentence-piece', () => {
  it('reads spaces and whole bytes; the space before a word stays', () => {
    write('tokenizer.json', {
      model: { type: 'BPE', vocab: numbered(['<unk>', '<0x0A>', '<0xC3>', '▁hello', 'hello', '▁', '日']), merges: [] },
      decoder: LLAMA,
    });
    expect(texts(7)).toEqual(['<unk>', '\n', '<0xC3>', ' hello', 'hello', ' ', '日']);
  });

  it('takes unigram models with a Metaspace', () => {
    write('tokenizer.json', {
      model: { type: 'Unigram', vocab: [['▁the', -1], ['s', -2.5]], unk_id: 0 }, // prettier-ignore
      decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' },
    });
    expect(texts(2)).toEqual([' the', 's']);
  });
});

it('WordPiece keeps its mark of a continuation', () => {
  write('tokenizer.json', {
    model: { type: 'WordPiece', vocab: numbered(['[PAD]', 'play', '##ing', '.']) },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
  });
  expect(texts(4)).toEqual(['[PAD]', 'play', '##ing', '.']);
});

describe('without a decoder', () => {
  it('words, lines and items are read as before', () => {
    write('items.json', ['Alien', 7]);
    expect(texts(2)).toEqual(['Alien', '7']);
    write('vocab.txt', 'one\r\ntwo\n');
    expect(texts(2)).toEqual(['one', 'two']);
    write('tokenizer.json', { model: { type: 'WordLevel', vocab: { three: 0, '▁four': 1 } }, decoder: null });
    expect(texts(2)).toEqual(['three', ' four']);
  });
});

describe('hostile files', () => {
  it.each<[string, unknown]>([
    ['no JSON', '{"model": '],
    ['null', 'null'],
    ['a decoder of no type', bpe(['a'], { decoder: [] })],
    ['a decoder of an unknown type', bpe(['a'], { decoder: { type: '__proto__' } })],
    ['a sequence of no decoders', bpe(['a'], { decoder: { type: 'Sequence', decoders: [null] } })],
    ['a sequence without a list', bpe(['a'], { decoder: { type: 'Sequence', decoders: { length: 1 } } })],
    ['too many decoders', bpe(['a'], { decoder: { type: 'Sequence', decoders: Array(33).fill({ type: 'Fuse' }) } })],
    ['a vocabulary of no numbers', { model: { type: 'BPE', vocab: { a: '0', b: -1, c: 0.5 } } }],
    ['a vocabulary that is a text', { model: { vocab: 'abc' } }],
    ['items that are no texts', [{ toString: 1 }, [[[]]], null]],
  ])('%s is no vocabulary', (_, value) => {
    write('tokenizer.json', value);
    expect(texts(3)).toBeUndefined();
  });

  it('decoders in decoders without end', () => {
    const deep = `${'{"type":"Sequence","decoders":['.repeat(200_000)}${']}'.repeat(200_000)}`;
    write('tokenizer.json', `{"model":{"vocab":{"a":0}},"decoder":${deep}}`);
    expect(texts(1)).toBeUndefined();
  });

  it('more brackets than memory, a folder, and a huge file', () => {
    write('tokenizer.json', '['.repeat(2 ** 22 + 1));
    expect(texts(1)).toBeUndefined();
    truncateSync(join(folder, 'tokenizer.json'), 2 ** 30);
    expect(texts(1)).toBeUndefined();
    rmSync(join(folder, 'tokenizer.json'));
    mkdirSync(join(folder, 'tokenizer.json'));
    write('vocab.txt', 'one');
    expect(texts(1)).toEqual(['one']);
  });

  it('runs no regular expression of the file', () => {
    const long = `${'a'.repeat(60)}!`;
    write(
      'tokenizer.json',
      bpe([long, 'Ġb'], {
        normalizer: { type: 'Replace', pattern: SLOW, content: '' },
        pre_tokenizer: { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated' },
        post_processor: { type: 'TemplateProcessing', single: 1 },
        decoder: {
          type: 'Sequence',
          decoders: [{ type: 'Replace', pattern: SLOW, content: 'x' }, { type: 'ByteLevel' }],
        },
      }),
    );
    expect(texts(2)).toEqual([long, ' b']);
  });

  it('lets no text grow, and cuts long ones', () => {
    const grow = { type: 'Replace', pattern: { String: 'a' }, content: 'aa' };
    const everywhere = { type: 'Replace', pattern: { String: '' }, content: 'x'.repeat(1000) };
    write(
      'tokenizer.json',
      bpe(['a', 'b'.repeat(100_000)], {
        decoder: { type: 'Sequence', decoders: [...Array<object>(30).fill(grow), everywhere] },
      }),
    );
    expect(texts(2)).toEqual(['a', `${'b'.repeat(255)}…`]);
  });

  it('names and numbers of the language are tokens like any other', () => {
    write(
      'tokenizer.json',
      '{"model":{"vocab":{"__proto__":0,"constructor":1,"2":2,"length":3}},"decoder":{"type":"Fuse"}}',
    );
    expect(texts(4)).toEqual(['__proto__', 'constructor', '2', 'length']);
  });

  it('numbers that are too large only miss', () => {
    write('tokenizer.json', bpe(['a', 'b'], { added_tokens: [{ id: 4294967296, content: 'far' }, { id: 'x' }, 7] }));
    expect(texts(3)).toEqual(['a', 'b', undefined]);
  });
});
