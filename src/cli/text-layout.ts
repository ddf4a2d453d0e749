/** Text in columns of a terminal. */

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
