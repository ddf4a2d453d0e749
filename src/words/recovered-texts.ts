import type { RecoveredText, RecoveredToken, TextsDetail } from '../protocol/detail.js';
import type { Report } from '../protocol/report.js';
import { visibleOnPage } from './visible.js';

/** Recovered texts as every surface shows them. What acts in them on more than letters is spelled out; lines end where they did. */

/** A part of a text: tokens that are sure, or one that is not. */
export interface Segment {
  readonly text: string;
  readonly uncertain?: RecoveredToken;
}

/** Joined, the segments are the whole text; the space before an uncertain word is with what is sure. */
export function segmentsOf({ tokens }: RecoveredText, { source }: Pick<TextsDetail, 'source'>): Segment[] {
  const segments: Segment[] = [];
  let sure = '';
  tokens.forEach((token, at) => {
    // Ids, unlike pieces of a text, do not bring the space between them.
    const piece = `${source === undefined && at > 0 ? ' ' : ''}${visibleOnPage(token.text.replaceAll('\r\n', '\n'))}`;
    const space = token.isUncertain ? (/^ +(?=\S)/.exec(piece)?.[0] ?? '') : piece;
    sure += space;
    if (token.isUncertain) {
      segments.push(...(sure === '' ? [] : [{ text: sure }]), { text: piece.slice(space.length), uncertain: token });
      sure = '';
    }
  });
  return sure === '' ? segments : [...segments, { text: sure }];
}

export function runningText(text: RecoveredText, detail: Pick<TextsDetail, 'source'>): string {
  return segmentsOf(text, detail)
    .map((segment) => segment.text)
    .join('');
}

export function sourceInWords({ source }: Pick<TextsDetail, 'source'>): string {
  return source === undefined ? 'No vocabulary is at hand, so tokens are shown by their ids.' : `Read with ${source}.`;
}

/** Undefined where every token is sure. */
export function uncertainInWords({ tokens }: RecoveredText): string | undefined {
  const uncertain = tokens.filter(({ isUncertain }) => isUncertain).length;
  return uncertain === 0 ? undefined : `${uncertain} of ${tokens.length} tokens uncertain`;
}

/** A text's title with what is said of it, in one line. */
export function headingOf(text: RecoveredText): string {
  const said = [text.label, uncertainInWords(text)].filter((own) => own !== undefined).join('; ');
  return inOneLine(said === '' ? text.title : `${text.title} (${said})`);
}

/** An uncertain token and what it could be instead. */
export function hintOf({ id, text, alternatives = [] }: RecoveredToken): string {
  const name = (own: { id: number; text: string }): string =>
    own.text === String(own.id) ? `id ${own.id}` : `${visibleOnPage(JSON.stringify(own.text))} (id ${own.id})`;
  const others = alternatives.map(name).join(', ');
  return `${name({ id, text })} is uncertain. ${others === '' ? 'What else it could be is not known.' : `It could also be ${others}.`}`;
}

const MOST_LETTERS = 80;
const MOST_TEXTS = 16;

/** How the texts of a report begin, a line each. */
export function beginningsOf(report: Pick<Report, 'leaks'>): string[] {
  return textsOf(report)
    .slice(0, MOST_TEXTS)
    .map((own) => `${headingOf(own.text)}: ${beginningOf(own, MOST_LETTERS)}`);
}

/** How a text begins, in one line. @param most letters, after which there are three dots */
export function beginningOf({ text, detail }: TextOfReport, most: number): string {
  const letters = Array.from(inOneLine(runningText(text, detail)));
  return `${letters.slice(0, most).join('')}${letters.length > most ? '...' : ''}`;
}

/** All texts of a report, for a file or the clipboard; empty where there are none. */
export function allTextsOf(report: Pick<Report, 'leaks'>): string {
  return textsOf(report)
    .map(({ text, detail }) => `${headingOf(text)}\n${runningText(text, detail)}\n`)
    .join('\n');
}

export interface TextOfReport {
  readonly text: RecoveredText;
  readonly detail: TextsDetail;
}

/** Every text that was recovered, in the report's order. */
export function textsOf({ leaks }: Pick<Report, 'leaks'>): TextOfReport[] {
  return leaks
    .flatMap(({ details }) => details.flatMap((detail) => (detail.type === 'texts' ? [detail] : [])))
    .flatMap((detail) => detail.texts.map((text) => ({ text, detail })));
}

function inOneLine(text: string): string {
  return visibleOnPage(text).replace(/\s+/g, ' ');
}
