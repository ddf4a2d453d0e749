import type { Random } from './random.js';

/** Changes that know nothing of a format: every other mutator ends in these. */

/** @param donor another file, parts of which may be taken */
export type Mutator = (bytes: Buffer, random: Random, donor: Buffer) => Buffer;

/** No file grows beyond this, so that executions stay short. */
const MOST_BYTES = 2 ** 20;

/** Sizes, counts and offsets at which arithmetic or allocation goes wrong. */
export const EXTREMES = [
  0,
  1,
  2,
  3,
  7,
  15,
  16,
  17,
  63,
  64,
  65,
  127,
  128,
  255,
  256,
  257,
  1000,
  0x7fff,
  0x8000,
  0xffff,
  0x10000,
  1e6,
  2 ** 24,
  2 ** 26,
  2 ** 28,
  2 ** 30,
  0x7fffffff,
  0x80000000,
  0xfffffffe,
  0xffffffff,
  2 ** 32,
  2 ** 33,
  1e15,
  2 ** 53 - 1,
  2 ** 53,
  2 ** 62,
] as const;

/** Names that every object has, and others that lead where they should not. */
export const NAMES = [
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'valueOf',
  'hasOwnProperty',
  'length',
  'then',
  '',
  '.',
  '..',
  '../../etc/passwd',
  '/etc/passwd',
  'C:\\Windows',
  '\0',
  '\u202e',
  '\ud800',
  '$&',
  '%s',
  '0',
  '-1',
  'NaN',
  'null',
] as const;

export function longText(random: Random): string {
  return random.pick(['a', '[', '(', '\\', ' ', '9', '\u{1f600}', '../']).repeat(10 ** (1 + random.below(4)));
}

const BYTE_CHANGES: readonly Mutator[] = [
  flipped,
  flipped,
  overwritten,
  withExtreme,
  withExtreme,
  withNumber,
  (bytes, random) => bytes.subarray(0, random.below(bytes.length + 1)),
  (bytes, random) => removed(bytes, random),
  (bytes, random) => inserted(bytes, repeatedPart(bytes, random), random),
  (bytes, random, donor) => inserted(bytes, part(donor, random), random),
  (bytes, random, donor) =>
    Buffer.concat([bytes.subarray(0, random.below(bytes.length + 1)), donor.subarray(random.below(donor.length + 1))]),
];

export const mutateBytes: Mutator = (bytes, random, donor) =>
  random.pick(BYTE_CHANGES)(bytes, random, donor).subarray(0, MOST_BYTES);

function flipped(bytes: Buffer, random: Random): Buffer {
  const out = Buffer.from(bytes);
  for (let left = out.length === 0 ? 0 : 1 + random.below(8); left > 0; left--) {
    out[random.below(out.length)]! ^= 1 << random.below(8);
  }
  return out;
}

function overwritten(bytes: Buffer, random: Random): Buffer {
  const out = Buffer.from(bytes);
  for (let left = out.length === 0 ? 0 : 1 + random.below(4); left > 0; left--) {
    out[random.below(out.length)] = random.below(256);
  }
  return out;
}

/** A field of 2, 4 or 8 bytes at its limits, or one off the file's size. */
function withExtreme(bytes: Buffer, random: Random): Buffer {
  const width = random.pick([2, 4, 8]);
  if (bytes.length < width) {
    return bytes;
  }
  const out = Buffer.from(bytes);
  const value = BigInt(random.chance(0.2) ? bytes.length + random.below(5) - 2 : random.pick(EXTREMES));
  const signed = random.chance(0.1) ? -value : value;
  const at = random.below(bytes.length - width + 1);
  const field = Buffer.alloc(8);
  field.writeBigUInt64LE(BigInt.asUintN(64, signed));
  field.copy(out, at, 0, width);
  if (random.chance(0.3)) {
    out.subarray(at, at + width).reverse();
  }
  return out;
}

/** A number that is written in digits becomes another. */
function withNumber(bytes: Buffer, random: Random): Buffer {
  const text = bytes.toString('latin1');
  const found = [...text.matchAll(/\d+/g)];
  if (found.length === 0) {
    return bytes;
  }
  const { index, 0: digits } = random.pick(found);
  const value = random.pick([...EXTREMES.map(String), '-1', '1e308', '9'.repeat(400), '0.5', '']);
  return Buffer.from(text.slice(0, index) + value + text.slice(index + digits.length), 'latin1');
}

function part(bytes: Buffer, random: Random): Buffer {
  const start = random.below(bytes.length + 1);
  return bytes.subarray(start, start + random.below(Math.min(bytes.length - start, 4096) + 1));
}

function repeatedPart(bytes: Buffer, random: Random): Buffer {
  const own = part(bytes, random).subarray(0, 256);
  return Buffer.concat(new Array<Buffer>(random.chance(0.1) ? 1 + random.below(500) : 1).fill(own));
}

function inserted(bytes: Buffer, own: Buffer, random: Random): Buffer {
  const at = random.below(bytes.length + 1);
  return Buffer.concat([bytes.subarray(0, at), own, bytes.subarray(at)]);
}

function removed(bytes: Buffer, random: Random): Buffer {
  const start = random.below(bytes.length + 1);
  const end = start + random.below(Math.min(bytes.length - start, 1024) + 1);
  return Buffer.concat([bytes.subarray(0, start), bytes.subarray(end)]);
}

/** A list with one item gone, twice, elsewhere, or taken from another list. */
export function rearranged<T>(items: readonly T[], random: Random, others: readonly T[] = items): T[] {
  if (items.length === 0) {
    return [...others];
  }
  const at = random.below(items.length);
  const to = random.below(items.length + 1);
  switch (random.below(5)) {
    case 0:
      return items.toSpliced(at, 1);
    case 1:
      return items.toSpliced(to, 0, ...new Array<T>(random.chance(0.1) ? 200 : 1).fill(items[at]!));
    case 2:
      return items.toSpliced(at, 1).toSpliced(to, 0, items[at]!);
    case 3:
      return others.length === 0 ? [...items] : items.toSpliced(to, 0, random.pick(others));
    default:
      return items.toSpliced(at, 1 + random.below(items.length - at));
  }
}
