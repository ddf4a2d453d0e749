import type { EntryResult } from '../protocol/project-report.js';
import { STANDING_WORDS, standingOf } from '../words/outcome-words.js';

/** What two audits gave away, beside each other, counted as a project counts. */
export interface ComparedRow {
  readonly what: string;
  readonly one: string;
  readonly other: string;
}

const ROWS: readonly { readonly what: string; readonly of: (result: EntryResult) => string }[] = [
  { what: 'verdict', of: (result) => STANDING_WORDS[standingOf({ status: 'done', result })].toLowerCase() },
  { what: 'worst finding', of: ({ severity }) => severity ?? 'none' },
  { what: 'labels', of: ({ labels, samples }) => `${labels} of ${samples}` },
  { what: 'last-layer features', of: ({ features, samples }) => `${features} of ${samples}` },
  { what: 'inputs computed exactly', of: ({ exactInputs }) => String(exactInputs) },
  { what: 'inputs known for the most part', of: ({ closeInputs }) => String(closeInputs) },
  { what: 'tokens', of: ({ tokens }) => String(tokens) },
];

/** Every row, whether the two differ in it or not. */
export function compareResults(one: EntryResult, other: EntryResult): ComparedRow[] {
  return ROWS.map(({ what, of }) => ({ what, one: of(one), other: of(other) }));
}

/** Where they differ, in a sentence. @param names of the two, as they stand beside each other */
export function comparisonInWords(rows: readonly ComparedRow[], names: readonly [string, string]): string {
  const differing = rows.filter(({ one, other }) => one !== other);
  return differing.length === 0
    ? 'Both audits came out the same, counted in labels, features, inputs and tokens.'
    : `${names[0]} against ${names[1]}: ${differing.map(({ what, one, other }) => `${what} ${one} against ${other}`).join('; ')}.`;
}
