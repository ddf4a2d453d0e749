import type { Normalisation } from './normalisations.js';

/**
 * What a method shows of a leak, in forms that every view can draw: panel, saved page, terminal, summary. A view that does
 * not know a form draws it as a table of its fields, so that a report of a later version is still read.
 */
export type Detail =
  TextDetail | FactsDetail | TableDetail | BarsDetail | CurveDetail | TokensDetail | TextsDetail | PictureDetail;

/** One paragraph; what stands between backticks is a name, set in a fixed width. */
export interface TextDetail {
  type: 'text';
  text: string;
}

/** Names with their values, as people read them. */
export interface FactsDetail {
  type: 'facts';
  facts: { name: string; value: string }[];
}

export interface TableDetail {
  type: 'table';
  title: string;
  /** `hint` says more about a column; numbers are set to the right. */
  columns: { title: string; hint?: string; isNumber?: boolean }[];
  /** As people read them, one per column; `highlighted` are the indices of cells that deserve a look. */
  rows: { cells: string[]; highlighted?: number[] }[];
}

/** Shares of a whole. */
export interface BarsDetail {
  type: 'bars';
  title: string;
  /** `from` and `to` are 0 to 1 and equal where the share is known; `words` says it. */
  bars: { name: string; from: number; to: number; words: string }[];
}

export interface CurveDetail {
  type: 'curve';
  title: string;
  xTitle: string;
  yTitle: string;
  /** Each of one length; x ascends. */
  series: { name: string; x: number[]; y: number[] }[];
}

/** Tokens, items or whole words in an order of their own. */
export interface TokensDetail {
  type: 'tokens';
  /** `hint` says more of one, such as its id. */
  tokens: { text: string; hint?: string }[];
  /** How many more there are than are listed. */
  more: number;
}

/** Texts that were recovered token by token, such as the sequences of a batch. */
export interface TextsDetail {
  type: 'texts';
  texts: RecoveredText[];
  /** Name of the vocabulary file; absent where there was none and the tokens' texts are their ids. */
  source?: string;
}

export interface RecoveredText {
  /** Such as "Text 1". */
  title: string;
  /** What the text was labelled with, where that was recovered too. */
  label?: string;
  /** In their order; their texts, joined, are the whole text. */
  tokens: RecoveredToken[];
}

export interface RecoveredToken {
  id: number;
  /** Its piece of the text; empty for one that ends within a character, which the token that completes it has. */
  text: string;
  isUncertain?: boolean;
  /** What else an uncertain token could be, the likeliest first. */
  alternatives?: { id: number; text: string }[];
}

export interface PictureDetail {
  type: 'picture';
  title: string;
  /** Channels, height, width. */
  shape: number[];
  /** Its numbers, float32 `.npy` in the report's folder; null when nothing was written. */
  file: string | null;
  /** Per-channel mean and deviation by which the numbers were normalised, when known. */
  normalisation?: Normalisation;
}

/** How sure a leak is, told from the captured numbers alone. */
export interface Certificate {
  /**
   * `gradient`: the gradient simulated from what was found is the captured one; `equations`: what was found solves equations
   * that only the truth solves; `count`: independent counts agree.
   */
  by: 'gradient' | 'equations' | 'count';
  /** Relative misfit, and what rounding and noise alone would leave of it; null where that is not known. */
  error: number;
  floor: number | null;
  /** Expected root mean square error of what was found, in its own units; null when it is not known. */
  expectedError: number | null;
  verdict: 'exact' | 'close' | 'uncertain';
}
