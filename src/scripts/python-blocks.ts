/** A Python text cut where functions, classes and their decorators begin at the left margin: blocks that parse by themselves. */

/** What can hide such a line, and the line itself. */
const MARKS = /#|["']|^(?:@|(?:async[ \t]+)?def\b|class\b)/gm;

/**
 * Blocks of a text, joined the text itself. What is left open in one, a bracket or an indentation, ends with it.
 *
 * @returns at least one block
 */
export function blocksOf(text: string): string[] {
  const blocks: string[] = [];
  let start = 0;
  // A decorator belongs to what it decorates.
  let isDecorated = false;
  MARKS.lastIndex = 0;
  for (let mark = MARKS.exec(text); mark; mark = MARKS.exec(text)) {
    const [what] = mark;
    if (what === '#') {
      MARKS.lastIndex = endOfLine(text, mark.index);
    } else if (what === '"' || what === "'") {
      MARKS.lastIndex = endOfString(text, mark.index, what);
    } else {
      if (!isDecorated && mark.index > start) {
        blocks.push(text.slice(start, mark.index));
        start = mark.index;
      }
      isDecorated = what === '@';
    }
  }
  blocks.push(text.slice(start));
  return blocks;
}

function endOfLine(text: string, from: number): number {
  const end = text.indexOf('\n', from);
  return end < 0 ? text.length : end;
}

/** Behind the closing quotes; the end of the line, or of the text, where there are none. */
function endOfString(text: string, start: number, quote: string): number {
  const triple = quote.repeat(3);
  return text.startsWith(triple, start) ? endOfTriple(text, start + 3, triple) : endOfSingle(text, start + 1, quote);
}

function endOfTriple(text: string, from: number, triple: string): number {
  for (let end = text.indexOf(triple, from); end >= 0; end = text.indexOf(triple, end + 1)) {
    let escapes = 0;
    while (end - escapes > from && text[end - escapes - 1] === '\\') {
      escapes++;
    }
    if (escapes % 2 === 0) {
      return end + 3;
    }
  }
  return text.length;
}

function endOfSingle(text: string, from: number, quote: string): number {
  for (let at = from; at < text.length; at++) {
    const letter = text[at];
    if (letter === '\\') {
      at++;
    } else if (letter === quote) {
      return at + 1;
    } else if (letter === '\n') {
      return at;
    }
  }
  return text.length;
}
