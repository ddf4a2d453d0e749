import { UnusableInputError } from '../protocol/errors.js';
import { type ByteSource, truncated } from './byte-source.js';
import { ShortTexts } from './short-texts.js';

/** Bytes, numbers and lines of a pickle, read in order from a file that nothing is known of. */

/** A string or a line longer than this is no checkpoint's. */
export const MAX_STRING_BYTES = 64 * 2 ** 20;
const PAGE_BYTES = 256 * 1024;

/** Sequential reading in pages, so that a pickle inside a file of gigabytes costs only its own size. */
export class PagedReader {
  private page = Buffer.alloc(0);
  private pageStart = 0;
  private readonly texts = new ShortTexts();

  constructor(
    readonly source: ByteSource,
    public position: number,
  ) {}

  byte(): number {
    const at = this.position - this.pageStart;
    if (at >= 0 && at < this.page.length) {
      this.position++;
      return this.page[at] ?? 0;
    }
    return this.take(1)[0] ?? 0;
  }

  take(length: number): Uint8Array {
    const at = this.skip(length);
    return this.page.subarray(at, at + length);
  }

  number(length: number): number {
    const at = this.skip(length);
    let value = 0;
    for (let index = length - 1; index >= 0; index--) {
      value = value * 256 + (this.page[at + index] ?? 0);
    }
    return value;
  }

  text(length: number): string {
    const at = this.skip(length);
    return this.texts.decode(this.page, at, at + length);
  }

  line(): string {
    const start = this.position;
    const end = this.page.indexOf(0x0a, Math.max(start - this.pageStart, 0));
    if (start >= this.pageStart && end >= 0) {
      this.position = this.pageStart + end + 1;
      return this.texts.decode(this.page, start - this.pageStart, end);
    }
    while (this.byte() !== 0x0a) {
      if (this.position - start > MAX_STRING_BYTES) {
        throw limit(this.source.path, 'a line without an end', `${MAX_STRING_BYTES} bytes`);
      }
    }
    const length = this.position - start;
    this.position = start;
    const text = this.text(length - 1);
    this.position++;
    return text;
  }

  /** Moves on. @returns where the bytes passed over begin in the page, which holds them all */
  private skip(length: number): number {
    let at = this.position - this.pageStart;
    if (at < 0 || at + length > this.page.length) {
      if (this.position + length > this.source.size) {
        throw truncated(
          this.source.path,
          `a pickle that ends at byte ${this.source.size} in the middle of an opcode`,
          'a complete pickle',
        );
      }
      const bytes = this.source.read(
        this.position,
        Math.min(Math.max(length, PAGE_BYTES), this.source.size - this.position),
      );
      this.page = Buffer.from(bytes.buffer);
      this.pageStart = this.position;
      at = 0;
    }
    this.position += length;
    return at;
  }
}

/** The error for a pickle that no real checkpoint would be. */
export function limit(file: string, found: string, most: string): UnusableInputError {
  return new UnusableInputError({
    code: 'pickle-limit',
    file,
    found,
    expected: `at most ${most}`,
    advice: 'No real checkpoint needs this: the file is damaged or hostile, do not load it anywhere.',
  });
}
