import { describe, expect, it } from 'vitest';
import { textsLines } from '../../../src/cli/render-texts.js';
import { wrapAnywhere } from '../../../src/cli/text-layout.js';
import type { RecoveredText, RecoveredToken, TextsDetail } from '../../../src/protocol/detail.js';
import type { Report } from '../../../src/protocol/report.js';
import { allTextsOf, beginningsOf, headingOf, hintOf, segmentsOf } from '../../../src/words/recovered-texts.js';

const sure = (text: string, id = 1): RecoveredToken => ({ id, text });
const unsure = (text: string, id = 2): RecoveredToken => ({ id, text, isUncertain: true });
const textOf = (...tokens: RecoveredToken[]): RecoveredText => ({ title: 'Text 1', tokens });
const detailOf = (...texts: RecoveredText[]): TextsDetail => ({ type: 'texts', source: 'tokenizer.json', texts });
const reportOf = (...details: TextsDetail[]): Report => ({ leaks: [{ details }] }) as unknown as Report;

/** A text that tries to act on where it is shown. */
const HOSTILE = 'a\u001b[2Jb\u202ec\rd\u0007\u2028e\u009b';

describe('segments', () => {
  it('are of what is sure and what is not, the space before a word with what is sure', () => {
    const uncertain = unsure(' fox');
    const alone = unsure(' ');
    const segments = segmentsOf(textOf(sure('The'), sure(' quick'), uncertain, sure('es'), alone, alone), detailOf());
    expect(segments).toEqual([
      { text: 'The quick ' },
      { text: 'fox', uncertain },
      { text: 'es' },
      { text: ' ', uncertain: alone },
      { text: ' ', uncertain: alone },
    ]);
    expect(segmentsOf(textOf(), detailOf())).toEqual([]);
  });

  it('of ids have spaces between them', () => {
    const [first, second] = [unsure('464'), unsure('7')];
    const segments = segmentsOf(textOf(first, sure('12'), second), {});
    expect(segments).toEqual([{ text: '464', uncertain: first }, { text: ' 12 ' }, { text: '7', uncertain: second }]);
  });

  it('spell out what acts on more than letters, but not line ends', () => {
    const [segment] = segmentsOf(textOf(sure(`${HOSTILE}\r\n::error::`)), detailOf());
    expect(segment?.text).toBe('a\\u001b[2Jb\\u202ec\\u000dd\\u0007\\u2028e\\u009b\n::error::');
  });
});

it('a token says what else it could be', () => {
  const alternatives = [
    { id: 5, text: ' cat' },
    { id: 9, text: '9' },
  ];
  expect(hintOf({ ...unsure(' d\u202eog'), alternatives })).toBe(
    '" d\\u202eog" (id 2) is uncertain. It could also be " cat" (id 5), id 9.',
  );
  expect(hintOf(unsure('x'))).toBe('"x" (id 2) is uncertain. What else it could be is not known.');
});

it('a heading says the label and how much is uncertain, in one line', () => {
  expect(headingOf(textOf(sure('a')))).toBe('Text 1');
  expect(headingOf({ ...textOf(sure('a'), unsure('b')), label: 'very\nbad\u001b' })).toBe(
    'Text 1 (very bad\\u001b; 1 of 2 tokens uncertain)',
  );
});

it('all texts of a report are one file, and their beginnings a line each', () => {
  const long = { title: 'Text 2', tokens: [sure('日'.repeat(81))] };
  const report = reportOf(detailOf(textOf(sure('One\n'), sure('two')), long), detailOf(textOf(sure('x'))));
  expect(allTextsOf(report)).toBe(`Text 1\nOne\ntwo\n\nText 2\n${'日'.repeat(81)}\n\nText 1\nx\n`);
  expect(beginningsOf(report)).toEqual(['Text 1: One two', `Text 2: ${'日'.repeat(80)}...`, 'Text 1: x']);
  expect(allTextsOf(reportOf())).toBe('');
});

describe('in a terminal', () => {
  const lines = (texts: RecoveredText[], width = 60): string[] =>
    textsLines(detailOf(...texts), '    ', width).slice(2);

  it('uncertain tokens are in brackets, also those that nothing is seen of', () => {
    const text = textOf(sure('The'), unsure(' fox'), unsure('\n'), unsure(' '), unsure(''), sure('end'));
    expect(lines([text])).toEqual(['    Text 1 (4 of 6 tokens uncertain)', '      The [fox?][↵?][␣?][?]end']);
  });

  it('nothing of a text leaves its margin', () => {
    const tokens = [sure(`\n\n${HOSTILE}\t`), unsure('\r\n'), sure('x'.repeat(200)), sure(' 日本語'.repeat(40))];
    const shown = lines([textOf(...tokens)], 40);
    expect(shown.length).toBeGreaterThan(10);
    for (const line of shown) {
      expect(line).toMatch(/^ {4}/);
      // eslint-disable-next-line no-control-regex -- none of these may be left
      expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u202e]/);
      expect(line.length + (line.match(/[日本語]/g) ?? []).length).toBeLessThanOrEqual(40);
    }
  });

  it('long and many texts are cut, and that is said', () => {
    const long = textOf(...Array.from({ length: 3000 }, () => sure(' word')));
    const shown = lines(Array<RecoveredText>(20).fill(long));
    expect(shown).toHaveLength(16 * 26);
    expect(shown[24]).toMatch(/^ {6}\.\.\. and \d+ more lines \(--format json lists all\)$/);
    expect(shown.at(-1)).toBe('    ... and 4 more texts (--format json lists all)');
  });

  it('ids stand for texts where there is no vocabulary', () => {
    const detail: TextsDetail = { type: 'texts', texts: [textOf(sure('464', 464), unsure('7', 7))] };
    expect(textsLines(detail, '', 120)).toEqual([
      'No vocabulary is at hand, so tokens are shown by their ids. Uncertain tokens are in brackets, as [word?].',
      'Text 1 (1 of 2 tokens uncertain)',
      '  464 [7?]',
    ]);
  });
});

describe('wrapping', () => {
  it('breaks between words, within long ones, and counts wide letters twice', () => {
    expect(wrapAnywhere('one two  three', 9)).toEqual(['one two', 'three']);
    expect(wrapAnywhere('abcdefgh ij', 3)).toEqual(['abc', 'def', 'gh', 'ij']);
    expect(wrapAnywhere('日本語', 4)).toEqual(['日本', '語']);
    expect(wrapAnywhere('👩‍👩‍👧👩‍👩‍👧é', 4)).toEqual(['👩‍👩‍👧👩‍👩‍👧', 'é']);
    expect(wrapAnywhere('', 4)).toEqual(['']);
    expect(wrapAnywhere('日', 1)).toEqual(['日']);
  });
});
