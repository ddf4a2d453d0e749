import { type ByteSource, malformed } from './byte-source.js';
import { MAX_STRING_BYTES, PagedReader, limit } from './pickle-reader.js';
import {
  PickleDict,
  PickleGlobal,
  PickleList,
  PickleObject,
  PicklePersistent,
  PickleSet,
  PickleTuple,
  type PickleValue,
} from './pickle-values.js';

/**
 * Parses a pickle (protocols 0 to 5) into inert values. Nothing is imported and nothing is called: a
 * global becomes a {@link PickleGlobal} and a call of it a {@link PickleObject} that only records what
 * Python would have done. The opcode set is that of CPython's `pickletools`.
 */

export interface ParsedPickle {
  readonly value: PickleValue;
  /** Every distinct global that the pickle names. */
  readonly globals: readonly PickleGlobal[];
  /** Offset in the source of the byte after STOP. */
  readonly end: number;
}

/** Far above what a checkpoint of 100,000 tensors needs (about four million), far below what fills memory. */
const MAX_OPCODES = 16_000_000;
/** A tensor costs about ten containers, so this is enough for 400,000 of them and bounds memory at some 400 MB. */
const MAX_CONTAINERS = 4_000_000;
const MAX_INTEGER_BYTES = 256;
/** Real pickles append in batches of 1000, so a stack this high is not theirs. */
const MAX_STACK = 4_000_000;

/**
 * @param start offset of the pickle's first byte in the source
 * @throws UnusableInputError when the pickle is cut short, malformed or exceeds a limit
 */
export function parsePickle(source: ByteSource, start = 0): ParsedPickle {
  return new PickleMachine(new PagedReader(source, start)).run();
}

const MARK = Symbol('mark');
type StackItem = PickleValue | typeof MARK;

/** Values by the numbers that a pickle gives them. Picklers count up from 0, and a map of millions is slow. */
class Memo {
  private readonly counted: PickleValue[] = [];
  private readonly others = new Map<number, PickleValue>();

  get size(): number {
    return this.counted.length + this.others.size;
  }

  set(index: number, value: PickleValue): void {
    if (index >= 0 && index <= this.counted.length && !this.others.has(index)) {
      this.counted[index] = value;
    } else {
      this.others.set(index, value);
    }
  }

  get(index: number): PickleValue | undefined {
    return index >= 0 && index < this.counted.length ? this.counted[index] : this.others.get(index);
  }
}

class PickleMachine {
  private stack: StackItem[] = [];
  private readonly memo = new Memo();
  /** By module and name. */
  private readonly globals = new Map<string, Map<string, PickleGlobal>>();
  private containers = 0;

  constructor(private readonly reader: PagedReader) {}

  run(): ParsedPickle {
    for (let count = 0; count < MAX_OPCODES; count++) {
      const opcode = this.reader.byte();
      if (opcode === 0x2e) {
        const value = this.pop();
        const globals = [...this.globals.values()].flatMap((own) => [...own.values()]);
        return { value, globals, end: this.reader.position };
      }
      this.step(opcode);
      if (this.stack.length > MAX_STACK) {
        throw limit(this.path, 'a pickle that piles up values', `${MAX_STACK} values on its stack`);
      }
    }
    throw limit(this.path, 'a pickle without an end', `${MAX_OPCODES} opcodes`);
  }

  private get path(): string {
    return this.reader.source.path;
  }

  private fail(found: string, expected: string): never {
    throw malformed(this.path, `a pickle with ${found} at byte ${this.reader.position - 1}`, expected);
  }

  private push(value: PickleValue): void {
    if (typeof value === 'object' && ++this.containers > MAX_CONTAINERS) {
      throw limit(this.path, 'a pickle that builds ever more objects', `${MAX_CONTAINERS} objects`);
    }
    this.stack.push(value);
  }

  private pop(): PickleValue {
    const value = this.stack.pop();
    if (value === undefined || value === MARK) {
      this.fail('too few values', 'a value for the opcode');
    }
    return value;
  }

  private top(): PickleValue {
    const value = this.stack[this.stack.length - 1];
    if (value === undefined || value === MARK) {
      this.fail('too few values', 'a value for the opcode');
    }
    return value;
  }

  private popToMark(): PickleValue[] {
    const at = this.stack.lastIndexOf(MARK);
    if (at < 0) {
      this.fail('no mark', 'a mark before the opcode');
    }
    const items = this.stack.slice(at + 1) as PickleValue[];
    this.stack.length = at;
    return items;
  }

  private tuple(count: number): void {
    const items = new Array<PickleValue>(count);
    for (let index = count - 1; index >= 0; index--) {
      items[index] = this.pop();
    }
    this.push(new PickleTuple(items));
  }

  private length(bytes: number): number {
    const length = this.reader.number(bytes);
    if (length > MAX_STRING_BYTES) {
      throw limit(this.path, `a pickle opcode with ${length} bytes`, `${MAX_STRING_BYTES} bytes`);
    }
    return length;
  }

  private bytes(length: number): Uint8Array {
    return this.reader.take(length).slice();
  }

  private global(module: string, name: string): PickleGlobal {
    let ofModule = this.globals.get(module);
    if (!ofModule) {
      ofModule = new Map();
      this.globals.set(module, ofModule);
    }
    let global = ofModule.get(name);
    if (!global) {
      global = new PickleGlobal(module, name);
      ofModule.set(name, global);
    }
    return global;
  }

  private call(callee: PickleValue, args: PickleValue): void {
    if (callee instanceof PickleGlobal) {
      callee.called = true;
    }
    this.push(new PickleObject(callee, args));
  }

  private remember(index: number): void {
    this.memo.set(index, this.top());
  }

  private recall(index: number): void {
    const value = this.memo.get(index);
    if (value === undefined) {
      this.fail(`a reference to memo ${index} that was never set`, 'a value remembered before');
    }
    this.push(value);
  }

  private append(items: readonly PickleValue[]): void {
    const target = this.top();
    if (target instanceof PickleList || target instanceof PickleObject || target instanceof PickleSet) {
      for (const item of items) {
        target.addItem(item);
      }
      return;
    }
    this.fail('items added to something that is no list', 'a list');
  }

  private setItems(items: readonly PickleValue[]): void {
    const target = this.top();
    if (!(target instanceof PickleDict || target instanceof PickleObject) || items.length % 2 !== 0) {
      this.fail('keys set on something that is no dict', 'a dict and pairs');
    }
    for (let index = 0; index < items.length; index += 2) {
      target.addPair(items[index] ?? null, items[index + 1] ?? null);
    }
  }

  private dictOf(items: readonly PickleValue[]): void {
    this.push(new PickleDict());
    this.setItems(items);
  }

  private listOf(items: readonly PickleValue[]): void {
    this.push(new PickleList());
    this.append(items);
  }

  private build(): void {
    const state = this.pop();
    const target = this.top();
    // BUILD on anything but an object has no effect that could matter to inert values.
    if (target instanceof PickleObject) {
      target.state = state;
    }
  }

  private integer(text: string): number | bigint | boolean {
    if (text === '00' || text === '01') {
      return text === '01';
    }
    const digits = text.endsWith('L') ? text.slice(0, -1) : text;
    if (!/^[+-]?\d{1,600}$/.test(digits)) {
      this.fail(`"${digits.slice(0, 40)}" where a number should be`, 'a decimal number');
    }
    return shrink(BigInt(digits));
  }

  private long(length: number): number | bigint {
    if (length > MAX_INTEGER_BYTES) {
      throw limit(this.path, `an integer of ${length} bytes`, `${MAX_INTEGER_BYTES} bytes`);
    }
    const bytes = this.reader.take(length);
    let value = 0n;
    for (let index = length - 1; index >= 0; index--) {
      value = (value << 8n) | BigInt(bytes[index] ?? 0);
    }
    return shrink(length > 0 ? BigInt.asIntN(length * 8, value) : 0n);
  }

  private text(value: PickleValue, what: string): string {
    return typeof value === 'string' ? value : this.fail(`${what} that is no string`, 'a string');
  }

  private step(opcode: number): void {
    const { reader } = this;
    // Numbers: a switch over a hundred texts compares one after the other.
    switch (opcode) {
      case 0x28: // (
        this.stack.push(MARK);
        return;
      case 0x30: // 0
        this.stack.pop();
        return;
      case 0x31: // 1
        this.popToMark();
        return;
      case 0x32: // 2
        return this.push(this.top());
      case 0x4e: // N
        return this.push(null);
      case 0x88:
        return this.push(true);
      case 0x89:
        return this.push(false);
      case 0x49: // I
      case 0x4c: // L
        return this.push(this.integer(reader.line().trim()));
      case 0x4a: // J
        return this.push(reader.number(4) | 0);
      case 0x4b: // K
        return this.push(reader.byte());
      case 0x4d: // M
        return this.push(reader.number(2));
      case 0x8a:
        return this.push(this.long(reader.byte()));
      case 0x8b:
        return this.push(this.long(reader.number(4)));
      case 0x46: // F
        return this.push(Number(reader.line()));
      case 0x47: {
        // G
        const bytes = reader.take(8);
        return this.push(new DataView(bytes.buffer, bytes.byteOffset, 8).getFloat64(0));
      }
      case 0x53: // S
        return this.push(
          reader
            .line()
            .trim()
            .replace(/^(['"])([\s\S]*)\1$/, '$2'),
        );
      case 0x56: // V
        return this.push(reader.line());
      case 0x54: // T
        return this.push(reader.text(this.length(4)));
      case 0x55: // U
        return this.push(reader.text(reader.byte()));
      case 0x58: // X
        return this.push(reader.text(this.length(4)));
      case 0x8c:
        return this.push(reader.text(reader.byte()));
      case 0x8d:
        return this.push(reader.text(this.length(8)));
      case 0x42: // B
        return this.push(this.bytes(this.length(4)));
      case 0x43: // C
        return this.push(this.bytes(reader.byte()));
      case 0x8e:
      case 0x96:
        return this.push(this.bytes(this.length(8)));
      case 0x29: // )
        return this.push(new PickleTuple([]));
      case 0x74: // t
        return this.push(new PickleTuple(this.popToMark()));
      case 0x85:
        return this.tuple(1);
      case 0x86:
        return this.tuple(2);
      case 0x87:
        return this.tuple(3);
      case 0x5d: // ]
        return this.push(new PickleList());
      case 0x6c: // l
        return this.listOf(this.popToMark());
      case 0x61: // a
        return this.append([this.pop()]);
      case 0x65: // e
        return this.append(this.popToMark());
      case 0x7d: // }
        return this.push(new PickleDict());
      case 0x64: // d
        return this.dictOf(this.popToMark());
      case 0x73: {
        // s
        const value = this.pop();
        return this.setItems([this.pop(), value]);
      }
      case 0x75: // u
        return this.setItems(this.popToMark());
      case 0x8f:
        return this.push(new PickleSet());
      case 0x90:
        return this.append(this.popToMark());
      case 0x91: {
        const items = this.popToMark();
        this.push(new PickleSet());
        return this.append(items);
      }
      case 0x70: // p
        return this.remember(Number(this.integer(reader.line().trim())));
      case 0x71: // q
        return this.remember(reader.byte());
      case 0x72: // r
        return this.remember(reader.number(4));
      case 0x94:
        return this.remember(this.memo.size);
      case 0x67: // g
        return this.recall(Number(this.integer(reader.line().trim())));
      case 0x68: // h
        return this.recall(reader.byte());
      case 0x6a: // j
        return this.recall(reader.number(4));
      case 0x63: {
        // c
        const module = reader.line();
        return this.push(this.global(module, reader.line()));
      }
      case 0x93: {
        const name = this.text(this.pop(), 'a global name');
        return this.push(this.global(this.text(this.pop(), 'a module name'), name));
      }
      case 0x52: {
        // R
        const args = this.pop();
        return this.call(this.pop(), args);
      }
      case 0x81: {
        const args = this.pop();
        return this.call(this.pop(), args);
      }
      case 0x92: {
        this.pop();
        const args = this.pop();
        return this.call(this.pop(), args);
      }
      case 0x69: {
        // i
        const module = reader.line();
        const callee = this.global(module, reader.line());
        return this.call(callee, new PickleTuple(this.popToMark()));
      }
      case 0x6f: {
        // o
        const [callee, ...args] = this.popToMark();
        return this.call(callee ?? this.fail('an object without its class', 'a class'), new PickleTuple(args));
      }
      case 0x62: // b
        return this.build();
      case 0x50: // P
        return this.push(new PicklePersistent(reader.line()));
      case 0x51: // Q
        return this.push(new PicklePersistent(this.pop()));
      case 0x80: {
        const protocol = reader.byte();
        return protocol > 5 ? this.fail(`protocol ${protocol}`, 'a pickle protocol from 0 to 5') : undefined;
      }
      case 0x95:
        // Frames only say how much to buffer; a false length must not matter.
        reader.take(8);
        return;
      case 0x82:
      case 0x83:
      case 0x84: {
        const width = opcode === 0x82 ? 1 : opcode === 0x83 ? 2 : 4;
        return this.push(this.global('copyreg.extension', String(reader.number(width))));
      }
      default:
        this.fail(`the unknown opcode 0x${opcode.toString(16)}`, 'a pickle opcode');
    }
  }
}

function shrink(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
