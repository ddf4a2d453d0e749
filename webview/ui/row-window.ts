import { Virtualizer, elementScroll, observeElementOffset, observeElementRect } from '@tanstack/virtual-core';

/** Of a long list, only the rows on screen exist: which they are, and how much room the others take. */

export interface RowWindowOptions {
  /** The element that scrolls; it may come later. */
  readonly scroller: () => HTMLElement | null;
  /** Pixels; of rows that are measured, a guess until they are. */
  readonly rowHeight: number;
  /** Pixels of what stays above the rows. */
  readonly headHeight?: number;
  /** Rows above and below the screen that are drawn too, so that scrolling shows no gaps. */
  readonly overscan?: number;
  /** A list of at most so many rows is drawn whole, so that it can be printed and searched. */
  readonly wholeUpTo?: number;
  /** Other rows are on screen now. */
  readonly changed: () => void;
}

export interface WindowRow {
  readonly index: number;
  /** Pixels from the top of the first row. */
  readonly start: number;
  readonly end: number;
}

const OVERSCAN = 12;

export class RowWindow {
  private readonly virtualizer: Virtualizer<HTMLElement, HTMLElement>;
  private mounted = false;

  constructor(private readonly options: RowWindowOptions) {
    const { scroller, rowHeight, headHeight = 0, changed } = options;
    this.virtualizer = new Virtualizer({
      count: 0,
      getScrollElement: scroller,
      estimateSize: () => rowHeight,
      observeElementRect,
      observeElementOffset,
      scrollToFn: elementScroll,
      onChange: () => {
        changed();
      },
      // The head comes before the rows and stays on top, so every row is lower by it than it says.
      scrollPaddingEnd: headHeight,
    });
  }

  /** After every drawing: the scroller exists only then. True when it is there for the first time. */
  update(count: number): boolean {
    this.setCount(count);
    const isNew = !this.mounted && this.options.scroller() !== null;
    if (isNew) {
      this.virtualizer._didMount();
      this.mounted = true;
    }
    this.virtualizer._willUpdate();
    return isNew;
  }

  /** Rows to draw, and the height of all. */
  items(count: number): { items: WindowRow[]; height: number } {
    this.setCount(count);
    return { items: this.virtualizer.getVirtualItems(), height: this.virtualizer.getTotalSize() };
  }

  private setCount(count: number): void {
    const { wholeUpTo = 0, overscan: usual = OVERSCAN } = this.options;
    const overscan = count <= wholeUpTo ? count : usual;
    this.virtualizer.setOptions({ ...this.virtualizer.options, count, overscan });
  }

  /** For rows of different heights: called with each that is drawn, which has its index as `data-index`. */
  readonly measure = (row: Element | undefined): void => {
    this.virtualizer.measureElement(row instanceof HTMLElement ? row : null);
  };

  /** The rows have changed places, so what was measured is of others. */
  forget(): void {
    this.virtualizer.measure();
  }

  reveal(at: number): void {
    this.virtualizer.scrollToIndex(at, { align: 'auto' });
  }

  /** Rows that fit on the screen. */
  page(): number {
    const { scroller, rowHeight } = this.options;
    return Math.max(1, Math.floor((scroller()?.clientHeight ?? 200) / rowHeight) - 2);
  }
}
