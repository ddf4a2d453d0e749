import type { Case } from './cases.js';
import type { Files } from './corpus.js';

/** Takes away from files what a finding does not need. */

const MOST_MS = 20_000;

/**
 * @param fails whether these files still end in the same kind of problem
 * @returns the smallest that was found in 20 seconds
 */
export async function minimised({ files }: Case, fails: (files: Files) => Promise<boolean>): Promise<Files> {
  const end = Date.now() + MOST_MS;
  let small = files;
  for (const name of Object.keys(files)) {
    const without = Object.fromEntries(Object.entries(small).filter(([own]) => own !== name));
    if (Object.keys(without).length > 0 && Date.now() < end && (await fails(without))) {
      small = without;
    }
  }
  for (const name of Object.keys(small)) {
    for (let piece = small[name]!.length >> 1; piece >= 1; piece >>= 1) {
      for (let at = 0; at < small[name]!.length && Date.now() < end;) {
        const bytes = small[name]!;
        const shorter = { ...small, [name]: Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + piece)]) };
        if (await fails(shorter)) {
          small = shorter;
        } else {
          at += piece;
        }
      }
    }
  }
  return small;
}
