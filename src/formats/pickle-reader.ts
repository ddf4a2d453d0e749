import { UnusableInputError } from '../protocol/errors.js';
import { type ByteSource, truncated } from './byte-source.js';

/** Bytes, numbers and lines of a pickle, read in order from a file that nothing is known of. */

/** A string or a line longer than this is no checkpoint's. */
export const MAX_STRING_BYTES = 64 * 2 ** 20;
const PAGE_BYTES = 256 * 1024;

/** Sequential reading in pages, so that a pickle inside a file of gigabytes costs only its own size. */
export class PagedReader {
  private page: Uint8Array = new Uint8Array(0);
  private pageStart = 0;
  private readonly decoder = new TextDecoder();

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
    let at = this.position - this.pageStart;
    if (at < 0 || at + length > this.page.length) {
      if (this.position + length > this.source.size) {
        throw truncated(
          this.source.path,
          `a pickle that ends at byte ${this.source.size} in the middle of an opcode`,
          'a complete pickle',
        );
      }
      this.page = this.source.read(
        this.position,
        Math.min(Math.max(length, PAGE_BYTES), this.source.size - this.position),
      );
      this.pageStart = this.position;
      at = 0;
    }
    this.position += length;
    return this.page.subarray(at, at + length);
  }

  number(length: number): number {
    const bytes = this.take(length);
    let value = 0;
    for (let index = length - 1; index >= 0; index--) {
      value = value * 256 + (bytes[index] ?? 0);
    }
    return value;
  }

  text(length: number): string {
    return this.decoder.decode(this.take(length));
  }

  line(): string {
    const start = this.position;
    while (this.byte() !== 0x0a) {
      if (this.position - start > MAX_STRING_BYTES) {
        throw limit(this.source.path, 'a line without an end', `${MAX_STRING_BYTES} bytes`);
      }
    }
    const length = this.position - start;
    this.position = start;
    return this.text(length).slice(0, -1);
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
