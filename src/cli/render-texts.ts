import type { RecoveredText, TextsDetail } from '../protocol/detail.js';
import { headingOf, segmentsOf, sourceInWords, uncertainInWords } from '../words/recovered-texts.js';
import { indent, wrapAnywhere } from './text-layout.js';

/** Recovered texts for a terminal: uncertain tokens as `[word?]`, ends of lines as a sign, so that the margin stays. */

const MOST_TEXTS = 16;
const MOST_LINES = 24;

export function textsLines(detail: TextsDetail, margin: string, width: number): string[] {
  const { texts } = detail;
  const more = texts.length - MOST_TEXTS;
  const isSure = texts.every((text) => uncertainInWords(text) === undefined);
  const uncertain = isSure ? '' : ' Uncertain tokens are in brackets, as [word?].';
  return [
    ...indent(margin, sourceInWords(detail) + uncertain, width),
    ...texts.slice(0, MOST_TEXTS).flatMap((text) => textLines(text, detail, margin, width)),
    ...(more > 0 ? [`${margin}... and ${more} more texts (--format json lists all)`] : []),
  ];
}

function textLines(text: RecoveredText, detail: TextsDetail, margin: string, width: number): string[] {
  const inner = `${margin}  `;
  const shown = segmentsOf(text, detail)
    .map((segment) => (segment.uncertain ? `[${withoutBlanks(segment.text)}?]` : segment.text))
    .join('')
    .replaceAll('\n', '↵ ')
    .replaceAll('\t', ' ');
  const lines = wrapAnywhere(shown, width - inner.length);
  const more = lines.length - MOST_LINES;
  return [
    ...indent(margin, headingOf(text), width),
    ...lines.slice(0, MOST_LINES).map((line) => inner + line),
    ...(more > 0 ? [`${inner}... and ${more} more lines (--format json lists all)`] : []),
  ];
}

/** A token of nothing but blanks would not be seen. */
function withoutBlanks(text: string): string {
  return text.trim() === '' ? text.replaceAll('\n', '↵').replace(/[^↵]/g, '␣') : text;
}
