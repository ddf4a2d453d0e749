/** Names of a directory decoded: a hundred thousand of them, most short, many the same. */

const SLOTS = 2 ** 10;
/** Bytes. */
const MOST_KEPT = 32;

export class ShortTexts {
  private readonly decoder = new TextDecoder();
  /** The last short text of each hash: one that comes again is the same object. */
  private readonly kept = new Array<string>(SLOTS).fill('');

  /** UTF-8 from `start` to `end`. */
  decode(bytes: Buffer, start: number, end: number): string {
    let hash = 0;
    for (let at = start; at < end; at++) {
      const byte = bytes[at] ?? 0;
      if (byte >= 0x80) {
        return this.decoder.decode(bytes.subarray(start, end));
      }
      hash = (Math.imul(hash, 31) + byte) | 0;
    }
    if (end - start > MOST_KEPT) {
      return bytes.toString('latin1', start, end);
    }
    const slot = hash & (SLOTS - 1);
    const known = this.kept[slot] ?? '';
    if (isText(known, bytes, start, end)) {
      return known;
    }
    const text = bytes.toString('latin1', start, end);
    this.kept[slot] = text;
    return text;
  }
}

function isText(text: string, bytes: Buffer, start: number, end: number): boolean {
  if (text.length !== end - start) {
    return false;
  }
  for (let at = 0; at < text.length; at++) {
    if (text.charCodeAt(at) !== bytes[start + at]) {
      return false;
    }
  }
  return true;
}
