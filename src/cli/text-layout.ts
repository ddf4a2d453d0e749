/** Text in columns of a terminal. */

/** Where the output is no terminal. */
export const DEFAULT_COLUMNS = 100;

export function indent(prefix: string, text: string, width: number): string[] {
  return wrap(text, width - prefix.length).map(
    (line, index) => (index === 0 ? prefix : ' '.repeat(prefix.length)) + line,
  );
}

export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}

const BAR_CELLS = 30;

/** A bar shaded between the ends of a range, both 0 to 1. */
export function barLine(name: string, low: number, high: number, words: string): string {
  const [full, open] = [low, high].map((end) => Math.round(Math.min(Math.max(end, 0), 1) * BAR_CELLS)) as [
    number,
    number,
  ];
  return `  ${name}  ${'█'.repeat(full)}${'▒'.repeat(open - full)}${'·'.repeat(BAR_CELLS - open)}  ${words.padStart(7)}`;
}

/** Two columns wide in terminals: East Asian letters and emoji. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}|[\u{20000}-\u{3fffd}]/u;
const CHARACTERS = new Intl.Segmenter('en', { granularity: 'grapheme' });

/** Wraps between words where it can and within them where it must; spaces between words stay as many as they are. */
export function wrapAnywhere(text: string, width: number): string[] {
  const lines: string[] = [];
  let [line, columns] = ['', 0];
  const endLine = (): void => {
    lines.push(line);
    [line, columns] = ['', 0];
  };
  for (const word of text.match(/ *[^ ]+| +$/g) ?? []) {
    const isTooLong = columns > 0 && columns + columnsOf(word) > width;
    if (isTooLong) {
      endLine();
    }
    const rest = isTooLong ? word.trimStart() : word;
    if (columns + columnsOf(rest) <= width) {
      line += rest;
      columns += columnsOf(rest);
      continue;
    }
    for (const { segment } of CHARACTERS.segment(rest)) {
      const own = columnsOf(segment);
      if (columns > 0 && columns + own > width) {
        endLine();
      }
      line += segment;
      columns += own;
    }
  }
  return [...lines, line];
}

const PLAIN = /^[\x20-\x7e]*$/;

function columnsOf(text: string): number {
  // Looking at letters one by one takes long for long texts.
  return PLAIN.test(text)
    ? text.length
    : Array.from(CHARACTERS.segment(text)).reduce((sum, { segment }) => sum + (WIDE.test(segment) ? 2 : 1), 0);
}
