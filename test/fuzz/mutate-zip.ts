import { crc32, inflateRawSync } from 'node:zlib';
import { memorySource } from '../../src/formats/byte-source.js';
import { openZip } from '../../src/formats/zip.js';
import { type ZipMember, buildZip } from '../write-zip.js';
import { EXTREMES, type Mutator, NAMES, longText, mutateBytes, rearranged } from './mutate-bytes.js';
import type { Random } from './random.js';

/** Zip archives as lists of entries: gone, repeated, moved, renamed, of other sizes than they say, changed inside. */

/** @param inside the mutator of an entry's content */
export function zipMutator(inside: (name: string, content: Buffer) => Mutator): Mutator {
  return (bytes, random, donor) => {
    const members = membersOf(bytes);
    if (!members || members.length === 0) {
      return mutateBytes(bytes, random, donor);
    }
    return buildZip(
      random.chance(0.2)
        ? rearranged(members, random, random.chance(0.5) ? membersOf(donor) : members)
        : changedMember(members, random, donor, inside),
    );
  };
}

function changedMember(
  members: readonly ZipMember[],
  random: Random,
  donor: Buffer,
  inside: (name: string, content: Buffer) => Mutator,
): ZipMember[] {
  const at = random.below(members.length);
  const own = members[at]!;
  switch (random.below(10)) {
    case 0:
      return members.with(at, { ...own, name: nameFor(members, random) });
    case 1:
      return members.with(at, {
        ...own,
        [random.pick(['size', 'compressedSize', 'headerOffset'])]: random.pick(EXTREMES) % 2 ** 32,
      });
    case 2:
      return members.with(at, { ...own, method: random.pick([0, 8, 8, 9, 99]) });
    default: {
      // The pickle, the configuration and the headers say more than the numbers.
      const telling = members.findIndex(({ name }) => /data\.pkl$|config\.json$/.test(name));
      const index = telling >= 0 && random.chance(0.8) ? telling : at;
      return members.with(index, rewritten(members[index]!, random, donor, inside));
    }
  }
}

function nameFor(members: readonly ZipMember[], random: Random): string {
  const name = random.pick([...NAMES, ...members.map((own) => own.name), longText(random).slice(0, 60_000)]);
  return random.chance(0.3) ? `archive/data/${name}`.slice(0, 60_000) : name;
}

function rewritten(
  member: ZipMember,
  random: Random,
  donor: Buffer,
  inside: (name: string, content: Buffer) => Mutator,
): ZipMember {
  const plain = member.method === 8 ? inflated(member.content) : member.content;
  const content = inside(member.name, plain)(plain, random, donor);
  return { name: member.name, content, crc32: crc32(content) };
}

const MOST_INFLATED = 2 ** 22;

function inflated(content: Buffer): Buffer {
  try {
    return inflateRawSync(content, { maxOutputLength: MOST_INFLATED });
  } catch {
    return content;
  }
}

/** Undefined for what is no archive. */
function membersOf(bytes: Buffer): ZipMember[] | undefined {
  try {
    return [...openZip(memorySource('', bytes)).entries.values()].map(
      ({ name, method, size, compressedSize, headerOffset, crc32: checksum }) => {
        const start = headerOffset + 30 + bytes.readUInt16LE(headerOffset + 26) + bytes.readUInt16LE(headerOffset + 28);
        return { name, method, size, crc32: checksum, content: bytes.subarray(start, start + compressedSize) };
      },
    );
  } catch {
    return undefined;
  }
}
