import { EXTREMES, type Mutator, NAMES, longText, mutateBytes, rearranged } from './mutate-bytes.js';
import type { Random } from './random.js';

/** Protobuf messages as lists of fields, whose lengths fit again after a change, or lie. */

interface Field {
  readonly id: number;
  readonly wire: number;
  readonly value: bigint | Buffer;
}

export const mutateProtobuf: Mutator = (bytes, random, donor) => {
  const fields = fieldsOf(bytes);
  return fields ? encode(changedFields(fields, random, donor, 0), random) : mutateBytes(bytes, random, donor);
};

const MOST_DEPTH = 8;

function changedFields(fields: readonly Field[], random: Random, donor: Buffer, depth: number): Field[] {
  if (fields.length === 0 || random.chance(depth === 0 ? 0.05 : 0.2)) {
    return rearranged(fields, random, (depth === 0 ? fieldsOf(donor) : undefined) ?? fields);
  }
  const at = random.below(fields.length);
  return fields.with(at, changedField(fields[at]!, random, donor, depth));
}

function changedField(field: Field, random: Random, donor: Buffer, depth: number): Field {
  const { value } = field;
  if (typeof value === 'bigint') {
    return { ...field, value: BigInt(random.pick([...EXTREMES, -1, -2, -(2 ** 31)])) };
  }
  const inner = field.wire === 2 && value.length > 0 && depth < MOST_DEPTH ? fieldsOf(value) : undefined;
  if (inner && random.chance(0.9)) {
    return { ...field, value: encode(changedFields(inner, random, donor, depth + 1), random) };
  }
  if (random.chance(0.05)) {
    return { ...field, value: wrapped(field, random.pick([10, 100, 1000])) };
  }
  if (random.chance(0.5) && value.length < 64) {
    return {
      ...field,
      value: Buffer.from(random.chance(0.3) ? longText(random) : random.pick([...OPERATIONS, ...NAMES])),
    };
  }
  return { ...field, value: mutateBytes(value, random, donor) };
}

const OPERATIONS = [
  ...['Add', 'BatchNormalization', 'Cast', 'Concat', 'Constant', 'ConstantOfShape', 'Conv', 'Div', 'Dropout', 'Expand'],
  ...['Flatten', 'Gather', 'Gemm', 'GlobalAveragePool', 'Identity', 'MatMul', 'MaxPool', 'Mul', 'Pad', 'Range'],
  ...['ReduceMean', 'Relu', 'Reshape', 'Shape', 'Slice', 'Softmax', 'Split', 'Squeeze', 'Transpose', 'Unsqueeze'],
];

function wrapped({ id, value }: Field, times: number): Buffer {
  let inner = value as Buffer;
  for (let left = times; left > 0; left--) {
    inner = Buffer.concat([varint(BigInt(id * 8 + 2)), varint(BigInt(inner.length)), inner]);
  }
  return inner;
}

/** Undefined for bytes that are no message to their end. */
function fieldsOf(bytes: Buffer): Field[] | undefined {
  const fields: Field[] = [];
  let at = 0;
  const number = (): bigint | undefined => {
    let value = 0n;
    for (let shift = 0n; at < bytes.length && shift < 70n; shift += 7n) {
      const byte = bytes[at++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) {
        return value;
      }
    }
    return undefined;
  };
  while (at < bytes.length) {
    const key = number();
    const [id, wire] = [Number((key ?? 0n) >> 3n), Number((key ?? 0n) & 7n)];
    const first = wire === 0 || wire === 2 ? number() : 0n;
    if (key === undefined || id === 0 || first === undefined || ![0, 1, 2, 5].includes(wire)) {
      return undefined;
    }
    const length = wire === 2 ? Number(first) : wire === 1 ? 8 : wire === 5 ? 4 : 0;
    if (at + length > bytes.length) {
      return undefined;
    }
    fields.push({ id, wire, value: wire === 0 ? first : bytes.subarray(at, at + length) });
    at += length;
  }
  return fields;
}

function encode(fields: readonly Field[], random: Random): Buffer {
  const liar = random.chance(0.05) ? random.below(fields.length + 1) : -1;
  return Buffer.concat(
    fields.flatMap(({ id, wire, value }, index) => {
      const key = varint(BigInt(id * 8 + wire));
      if (typeof value === 'bigint') {
        return [key, varint(value)];
      }
      const length = index === liar ? random.pick(EXTREMES) : value.length;
      return wire === 2 ? [key, varint(BigInt(length)), value] : [key, value];
    }),
  );
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  return Buffer.of(...bytes, Number(rest));
}
