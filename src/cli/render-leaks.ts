import type { CurveDetail, Detail, TableDetail } from '../protocol/detail.js';
import type { LeakReport } from '../protocol/report.js';
import { drawable } from '../words/detail-words.js';
import { short } from '../words/report-words.js';
import { textsLines } from './render-texts.js';
import { barLine, indent } from './text-layout.js';

/** Leaks for a terminal, drawn by the form of their details. */

const MARGIN = ' '.repeat(12);
const MOST_TOKENS = 60;
const MOST_ROWS = 24;
const MOST_CELL = 40;

/** What belongs to the whole gradient, or to one sample. */
export function leakLines(leaks: readonly LeakReport[], sample: number | null, width: number): string[] {
  return leaks
    .filter((leak) => leak.sample === sample && (leak.sample === null ? leak.brief !== null : leak.details.length > 0))
    .flatMap((leak) => [
      ...(sample === null ? [''] : []),
      ...headLines(leak, width),
      ...leak.details.flatMap((own) => detailLines(drawable(own), width)),
    ]);
}

function headLines({ noun, what, files, sample }: LeakReport, width: number): string[] {
  const where = files.length > 0 ? ` (${files.join(', ')})` : '';
  return indent(`${sample === null ? '' : '  '}${noun}`.padEnd(MARGIN.length), `${what}${where}`, width);
}

export function detailLines(detail: Detail, width: number): string[] {
  switch (detail.type) {
    case 'text':
      return indent(MARGIN, detail.text.replaceAll('`', ''), width);
    case 'facts':
      return detail.facts.flatMap(({ name, value }) => indent(`${MARGIN}${name}  `, value, width));
    case 'table':
      return tableLines(detail);
    case 'bars': {
      const widest = Math.max(0, ...detail.bars.map(({ name }) => name.length));
      return [
        `${MARGIN}${detail.title}`,
        ...detail.bars.map(
          ({ name, from, to, words }) => MARGIN + barLine(name.padEnd(widest), from, to, words).trimStart(),
        ),
      ];
    }
    case 'curve':
      return curveLines(detail, width);
    case 'tokens': {
      const shown = detail.tokens.slice(0, MOST_TOKENS);
      // An id stands as it is; of a text the blanks must be seen.
      const words = shown.map(({ text, hint }) => (typeof hint === 'string' ? JSON.stringify(text) : text));
      const more = detail.more > 0 || shown.length < detail.tokens.length ? ' ...' : '';
      return indent(MARGIN, `${words.join(' ')}${more}`, width);
    }
    case 'texts':
      return textsLines(detail, MARGIN, width);
    case 'picture': {
      const where = detail.file ?? 'not written without --out';
      return indent(MARGIN, `${detail.title}: ${detail.shape.join(' x ')} numbers, ${where}`, width);
    }
  }
}

function tableLines({ title, columns, rows }: TableDetail): string[] {
  const shown = rows
    .slice(0, MOST_ROWS)
    .map(({ cells }) => columns.map((_, at) => (cells[at] ?? '').slice(0, MOST_CELL)));
  const widths = columns.map((column, at) =>
    Math.max(column.title.length, ...shown.map((cells) => cells[at]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    `${MARGIN}${cells.map((cell, at) => (columns[at]?.isNumber ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0))).join('  ')}`.trimEnd();
  return [
    ...(title === '' ? [] : [`${MARGIN}${title}`]),
    line(columns.map((column) => column.title)),
    ...shown.map(line),
    ...(rows.length > shown.length
      ? [`${MARGIN}... and ${rows.length - shown.length} more (--format json lists all)`]
      : []),
  ];
}

/** A curve's ends and its lowest point: what a reader would look for in it. */
function curveLines({ title, xTitle, yTitle, series }: CurveDetail, width: number): string[] {
  return series.flatMap(({ name, x, y }) => {
    const lowest = y.reduce((at, value, own) => (value < (y[at] ?? Infinity) ? own : at), 0);
    const [first, last] = [y[0], y.at(-1)];
    return first === undefined || last === undefined
      ? []
      : indent(
          MARGIN,
          `${title}, ${name}: ${yTitle} from ${short(first)} to ${short(last)}, lowest ${short(y[lowest] ?? first)} at ${xTitle} ${short(x[lowest] ?? 0)}`,
          width,
        );
  });
}
