/** Builds zip archives for tests, honest ones and ones that lie. */

export interface ZipMember {
  name: string;
  /** As stored: deflate it yourself for method 8. */
  content: Buffer;
  method?: number;
  /** Uncompressed size to declare. */
  size?: number;
  compressedSize?: number;
  headerOffset?: number;
  /** Of the content as it was before it was deflated; zero when left out. */
  crc32?: number;
}

export function buildZip(members: readonly ZipMember[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const member of members) {
    const name = Buffer.from(member.name);
    const method = member.method ?? 0;
    const size = member.size ?? member.content.length;
    const compressedSize = member.compressedSize ?? member.content.length;
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(method, 8);
    local.writeUInt32LE(compressedSize, 18);
    local.writeUInt32LE(size, 22);
    local.writeUInt16LE(name.length, 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(method, 10);
    central.writeUInt32LE(member.crc32 ?? 0, 16);
    central.writeUInt32LE(compressedSize, 20);
    central.writeUInt32LE(size, 24);
    central.writeUInt16LE(name.length, 28);
    central.writeUInt32LE(member.headerOffset ?? offset, 42);
    parts.push(local, name, member.content);
    directory.push(central, name);
    offset += 30 + name.length + member.content.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(members.length, 8);
  end.writeUInt16LE(members.length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, central, end]);
}
