import { describe, expect, it } from 'vitest';
import { counted } from '../../../src/words/count-words.js';
import { percent } from '../../../src/words/label-words.js';
import { durationInWords } from '../../../src/words/report-words.js';
import { estimatorInWords, explanationOfTerm, searchInWords } from '../../../src/words/terms.js';

describe('counts', () => {
  it('agree with their nouns', () => {
    expect([counted(0, 'tensor'), counted(1, 'tensor'), counted(2, 'tensor')]).toEqual([
      '0 tensors',
      '1 tensor',
      '2 tensors',
    ]);
    expect(counted(3, 'class', 'classes')).toBe('3 classes');
  });
});

describe('shares', () => {
  it.each([
    [0, '0.0 %'],
    [1e-9, '< 0.0001 %'],
    [1e-5, '0.0010 %'],
    [0.734, '73.4 %'],
    [0.99999, '99.9990 %'],
    [1 - 1e-9, '> 99.9999 %'],
    [1, '100.0 %'],
  ])('of %f read as neither nothing nor all unless they are', (share, words) => {
    expect(percent(share)).toBe(words);
  });
});

describe('times', () => {
  it.each([
    [420, '420 ms'],
    [9060, '9.1 s'],
    [720_000, '12 min'],
  ])('of %i ms', (milliseconds, words) => {
    expect(durationInWords(milliseconds)).toBe(words);
  });
});

describe('terms', () => {
  it('are explained whatever their case, and unknown ones stand for themselves', () => {
    expect(explanationOfTerm('Rank')).toBe(explanationOfTerm('rank'));
    expect(explanationOfTerm('constructor')).toBeUndefined();
    expect(estimatorInWords('llg').title).toBe('LLG');
    expect(estimatorInWords('of a later version')).toEqual({ title: 'of a later version', how: '' });
    expect(searchInWords('of a later version')).toBe('of a later version');
  });
});
