import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';

/** Writes a state dict as torch.save does (zip64, stored), with the data left as holes of a sparse file. */

export interface SparseTensor {
  readonly name: string;
  readonly shape: readonly number[];
}

export function writeSparseTorchZip(path: string, tensors: readonly SparseTensor[]): void {
  const members: { name: string; size: number; content: Buffer | undefined }[] = [
    { name: 'archive/data.pkl', ...sized(pickleOf(tensors)) },
    ...tensors.map(({ shape }, index) => ({
      name: `archive/data/${index}`,
      size: 4 * shape.reduce((a, b) => a * b, 1),
      content: undefined,
    })),
    { name: 'archive/version', ...sized(Buffer.from('3\n')) },
  ];
  const file = openSync(path, 'w');
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, size, content } of members) {
    const local = Buffer.alloc(30 + name.length);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(name.length, 26);
    local.write(name, 30);
    writeSync(file, local, 0, local.length, offset);
    if (content) {
      writeSync(file, content, 0, content.length, offset + local.length);
    }
    directory.push(centralRecord(name, size, offset));
    offset += local.length + size;
  }
  const central = Buffer.concat(directory);
  const end = endRecords(members.length, central.length, offset);
  writeSync(file, central, 0, central.length, offset);
  writeSync(file, end, 0, end.length, offset + central.length);
  ftruncateSync(file, offset + central.length + end.length);
  closeSync(file);
}

function sized(content: Buffer): { size: number; content: Buffer } {
  return { size: content.length, content };
}

function centralRecord(name: string, size: number, offset: number): Buffer {
  const record = Buffer.alloc(46 + name.length + 28);
  record.writeUInt32LE(0x02014b50, 0);
  record.writeUInt32LE(0xffffffff, 20);
  record.writeUInt32LE(0xffffffff, 24);
  record.writeUInt16LE(name.length, 28);
  record.writeUInt16LE(28, 30);
  record.writeUInt32LE(0xffffffff, 42);
  record.write(name, 46);
  const extra = 46 + name.length;
  record.writeUInt16LE(1, extra);
  record.writeUInt16LE(24, extra + 2);
  record.writeBigUInt64LE(BigInt(size), extra + 4);
  record.writeBigUInt64LE(BigInt(size), extra + 12);
  record.writeBigUInt64LE(BigInt(offset), extra + 20);
  return record;
}

function endRecords(count: number, size: number, offset: number): Buffer {
  const end = Buffer.alloc(56 + 20 + 22);
  end.writeUInt32LE(0x06064b50, 0);
  end.writeBigUInt64LE(44n, 4);
  end.writeBigUInt64LE(BigInt(count), 24);
  end.writeBigUInt64LE(BigInt(count), 32);
  end.writeBigUInt64LE(BigInt(size), 40);
  end.writeBigUInt64LE(BigInt(offset), 48);
  end.writeUInt32LE(0x07064b50, 56);
  end.writeBigUInt64LE(BigInt(offset + size), 64);
  end.writeUInt32LE(1, 72);
  end.writeUInt32LE(0x06054b50, 76);
  end.fill(0xff, 84, 96);
  return end;
}

function pickleOf(tensors: readonly SparseTensor[]): Buffer {
  const text = (value: string): Buffer => {
    const bytes = Buffer.alloc(5 + value.length);
    bytes.write('X');
    bytes.writeUInt32LE(value.length, 1);
    bytes.write(value, 5);
    return bytes;
  };
  const int = (value: number): Buffer => {
    const bytes = Buffer.alloc(5);
    bytes.write('J');
    bytes.writeInt32LE(value, 1);
    return bytes;
  };
  const tuple = (...items: Buffer[]): Buffer => Buffer.concat([Buffer.from('('), ...items, Buffer.from('t')]);
  const parts: Buffer[] = [Buffer.from([0x80, 2]), Buffer.from('}(')];
  tensors.forEach(({ name, shape }, index) => {
    const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
    const numel = shape.reduce((a, b) => a * b, 1);
    const storage = [
      text('storage'),
      Buffer.from('ctorch\nFloatStorage\n'),
      text(String(index)),
      text('cpu'),
      int(numel),
    ];
    parts.push(
      text(name),
      Buffer.from('ctorch._utils\n_rebuild_tensor_v2\n'),
      tuple(
        tuple(...storage),
        Buffer.from('Q'),
        int(0),
        tuple(...shape.map(int)),
        tuple(...strides.map(int)),
        Buffer.from([0x89]),
        Buffer.from('ccollections\nOrderedDict\n)R'),
      ),
      Buffer.from('R'),
    );
  });
  return Buffer.concat([...parts, Buffer.from('u.')]);
}
