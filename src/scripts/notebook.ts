/** The Python cells of a notebook as one script: what a cell means depends on the imports of those above. */
export interface JoinedCells {
  readonly text: string;
  /** Offset of each cell's text. */
  readonly starts: readonly number[];
}

/** Lines of magic (`%timeit`, `!pip`) become comments of the same length, so that offsets stay. */
export function joinCells(cells: readonly string[]): JoinedCells {
  const starts: number[] = [];
  let text = '';
  for (const cell of cells) {
    starts.push(text.length);
    text += `${cell.replace(/^([ \t]*)[%!?](?=\S)/gm, '$1#')}\n`;
  }
  return { text, starts };
}

/** Which cell an offset lies in, and where in it. */
export function cellAt({ starts }: JoinedCells, offset: number): { cell: number; offset: number } {
  const cell = starts.findLastIndex((start) => start <= offset);
  return { cell, offset: offset - (starts[cell] ?? 0) };
}
