import { type Mutator, mutateBytes } from './mutate-bytes.js';
import { mutateJson } from './mutate-json.js';
import { mutatePickle } from './mutate-pickle.js';
import { mutateProtobuf } from './mutate-protobuf.js';
import { mutateText } from './mutate-text.js';
import { zipMutator } from './mutate-zip.js';
import type { Random } from './random.js';

/** Changes a file as its format suggests, and now and then as bytes. */
export function mutate(name: string, bytes: Buffer, random: Random, donor: Buffer): Buffer {
  let mutated = bytes;
  do {
    const mutator = random.chance(0.25) ? mutateBytes : mutatorOf(name, mutated);
    mutated = mutator(mutated, random, donor);
  } while (random.chance(0.5));
  return mutated.length > MOST_BYTES ? mutated.subarray(0, MOST_BYTES) : mutated;
}

const MOST_BYTES = 2 ** 20;

/** What the bytes are says more than the name: a mutation may have changed them. */
function mutatorOf(name: string, bytes: Buffer): Mutator {
  if (bytes.subarray(0, 2).toString('latin1') === 'PK') {
    return mutateArchive;
  }
  if (bytes[0] === 0x80 && /\.(pt|pth|bin|ckpt|pkl)$/.test(name)) {
    return mutatePickle;
  }
  if (bytes[0] === 0x93) {
    return mutateNpy;
  }
  if (/\.(json|ipynb)$/.test(name)) {
    return mutateJson;
  }
  if (name.endsWith('.safetensors')) {
    return mutateSafetensors;
  }
  if (/\.(onnx|model)$/.test(name)) {
    return mutateProtobuf;
  }
  return /\.(py|txt)$|^\.\w+$/.test(name) ? mutateText : mutateBytes;
}

const mutateArchive = zipMutator((name, content) =>
  name.endsWith('data.pkl') ? mutatePickle : name.endsWith('.json') ? mutateJson : mutatorOf(name, content),
);

/** The header, whose length is written before it, as JSON. */
const mutateSafetensors: Mutator = (bytes, random, donor) =>
  withHeader(bytes, 8, bytes.length < 8 ? 0 : bytes.readUInt32LE(0), random, donor, mutateJson, (length) => {
    const field = Buffer.alloc(8);
    field.writeBigUInt64LE(BigInt(length));
    return field;
  });

/** The header as a text of numbers and names. */
const mutateNpy: Mutator = (bytes, random, donor) =>
  withHeader(bytes, 10, bytes.length < 10 ? 0 : bytes.readUInt16LE(8), random, donor, mutateNpyHeader, (length) => {
    const field = Buffer.from(bytes.subarray(0, 10));
    field.writeUInt16LE(Math.min(length, 0xffff), 8);
    return field;
  });

const mutateNpyHeader: Mutator = (bytes, random, donor) =>
  random.chance(0.3)
    ? Buffer.from(bytes.toString('latin1').replace(/'[<>|=]\w+'/, `'${random.pick(NUMPY_TYPES)}'`), 'latin1')
    : random.pick([mutateBytes, mutateText])(bytes, random, donor);

const NUMPY_TYPES = [
  '<f8',
  '>f4',
  '<f2',
  '<i8',
  '|u1',
  '|b1',
  '<c16',
  '|O',
  '<constructor',
  '<toString',
  'f4',
  '<V8',
  '',
];

function withHeader(
  bytes: Buffer,
  start: number,
  length: number,
  random: Random,
  donor: Buffer,
  change: Mutator,
  prefix: (length: number) => Buffer,
): Buffer {
  if (length === 0 || start + length > bytes.length) {
    return mutateBytes(bytes, random, donor);
  }
  const header = change(bytes.subarray(start, start + length), random, donor);
  return Buffer.concat([prefix(header.length), header, bytes.subarray(start + length)]);
}
