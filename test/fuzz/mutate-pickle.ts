import { EXTREMES, type Mutator, NAMES, longText, mutateBytes, rearranged } from './mutate-bytes.js';
import type { Random } from './random.js';

/** Pickles as lists of opcodes: gone, repeated, moved, of other kinds, with other numbers and names. */

export const mutatePickle: Mutator = (bytes, random, donor) => {
  const { opcodes, rest } = opcodesOf(bytes);
  if (opcodes.length < 2) {
    return mutateBytes(bytes, random, donor);
  }
  const changed = changedOpcodes(opcodes, random, donor);
  return Buffer.concat([...changed.flatMap(({ code, argument }) => [Buffer.of(code), argument]), rest]);
};

interface Opcode {
  readonly code: number;
  readonly argument: Buffer;
}

/** What follows an opcode: a number of bytes, lines, or bytes behind their count. */
const ARGUMENTS: Readonly<Record<string, number | 'line' | 'lines' | 'counted1' | 'counted4' | 'counted8'>> = {
  ...{ '\x80': 1, K: 1, q: 1, h: 1, '\x82': 1, M: 2, '\x83': 2, J: 4, r: 4, j: 4, '\x84': 4, G: 8, '\x95': 8 },
  ...{ I: 'line', L: 'line', F: 'line', S: 'line', V: 'line', p: 'line', g: 'line', P: 'line', c: 'lines', i: 'lines' },
  ...{ U: 'counted1', C: 'counted1', '\x8c': 'counted1', '\x8a': 'counted1' },
  ...{ T: 'counted4', X: 'counted4', B: 'counted4', '\x8b': 'counted4' },
  ...{ '\x8d': 'counted8', '\x8e': 'counted8', '\x96': 'counted8' },
} as const;

const PLAIN = '(012NR)]}aedutslbo.Q\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94';

function opcodesOf(bytes: Buffer): { opcodes: Opcode[]; rest: Buffer } {
  const opcodes: Opcode[] = [];
  let at = 0;
  while (at < bytes.length) {
    const code = bytes[at]!;
    const length = argumentLength(bytes, at + 1, String.fromCharCode(code));
    if (length === undefined) {
      break;
    }
    opcodes.push({ code, argument: bytes.subarray(at + 1, at + 1 + length) });
    at += 1 + length;
    // Older files are several pickles, one after the other, and then numbers.
    if (code === 0x2e && bytes[at] !== 0x80) {
      break;
    }
  }
  return { opcodes, rest: bytes.subarray(at) };
}

function argumentLength(bytes: Buffer, at: number, code: string): number | undefined {
  const kind = ARGUMENTS[code] ?? (PLAIN.includes(code) ? 0 : undefined);
  if (kind === undefined || typeof kind === 'number') {
    return kind;
  }
  if (kind === 'line' || kind === 'lines') {
    const first = bytes.indexOf(10, at);
    const end = kind === 'line' || first < 0 ? first : bytes.indexOf(10, first + 1);
    return end < 0 ? undefined : end + 1 - at;
  }
  const width = Number(kind.slice('counted'.length));
  if (at + width > bytes.length) {
    return undefined;
  }
  const length = width + bytes.readUIntLE(at, Math.min(width, 6));
  return at + length > bytes.length ? undefined : length;
}

function changedOpcodes(opcodes: readonly Opcode[], random: Random, donor: Buffer): Opcode[] {
  const at = random.below(opcodes.length);
  const own = opcodes[at]!;
  switch (random.below(6)) {
    case 0:
      return rearranged(opcodes, random, opcodesOf(donor).opcodes);
    case 1:
      return opcodes.with(at, { ...own, code: PLAIN.charCodeAt(random.below(PLAIN.length)) });
    case 2:
      return opcodes.toSpliced(at, 0, number(random));
    case 3: {
      const start = random.below(opcodes.length);
      const piece = opcodes.slice(start, start + 1 + random.below(40));
      return opcodes.toSpliced(at, 0, ...new Array<Opcode[]>(random.chance(0.2) ? 100 : 1).fill(piece).flat());
    }
    default: {
      // Numbers and texts by far outnumber what else has an argument.
      const holders = [...opcodes.keys()].filter((index) => opcodes[index]!.argument.length > 0);
      const index = holders.length === 0 ? at : random.pick(holders);
      return opcodes.with(index, replaced(opcodes[index]!, random));
    }
  }
}

function replaced(own: Opcode, random: Random): Opcode {
  switch (String.fromCharCode(own.code)) {
    case 'K':
    case 'M':
    case 'J':
    case '\x8a':
      return number(random);
    case 'X':
    case '\x8c':
      return text(
        random.chance(0.6) ? random.pick([...NAMES, 'storage', 'cpu', '0', '1', 'weight']) : longText(random),
      );
    case 'c':
      return { code: own.code, argument: Buffer.from(`${random.pick(GLOBALS).replace(' ', '\n')}\n`) };
    default: {
      const argument = Buffer.from(own.argument);
      if (argument.length > 0) {
        argument[random.below(argument.length)] = random.below(256);
      }
      return { code: own.code, argument };
    }
  }
}

const GLOBALS = [
  'torch._utils _rebuild_tensor',
  'torch._utils _rebuild_tensor_v2',
  'torch._utils _rebuild_tensor_v3',
  'torch._utils _rebuild_parameter',
  'torch._tensor _rebuild_from_type_v2',
  'torch.jit._pickle build_tensor_from_id',
  'numpy.core.multiarray _reconstruct',
  'collections OrderedDict',
  'torch FloatStorage',
  'torch DoubleStorage',
  'torch ComplexDoubleStorage',
  'torch constructor',
  'torch toString',
  'os system',
  'a.b.c.d E',
];

function number(random: Random): Opcode {
  const argument = Buffer.alloc(9, 0);
  argument[0] = 8;
  const value = BigInt(random.pick(EXTREMES));
  argument.writeBigInt64LE(random.chance(0.2) ? -value : value, 1);
  return { code: 0x8a, argument };
}

function text(value: string): Opcode {
  const content = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(content.length);
  return { code: 0x58, argument: Buffer.concat([length, content]) };
}
