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
  private readonly globals = new Map<string, PickleGlobal>();
  private containers = 0;

  constructor(private readonly reader: PagedReader) {}

  run(): ParsedPickle {
    for (let count = 0; count < MAX_OPCODES; count++) {
      const opcode = this.reader.byte();
      if (opcode === 0x2e) {
        const value = this.pop();
        return { value, globals: [...this.globals.values()], end: this.reader.position };
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
    const items = this.stack.splice(at) as PickleValue[];
    items.shift();
    return items;
  }

  private tuple(count: number): void {
    const items: PickleValue[] = [];
    for (let index = 0; index < count; index++) {
      items.unshift(this.pop());
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
    const key = `${module}\n${name}`;
    let global = this.globals.get(key);
    if (!global) {
      global = new PickleGlobal(module, name);
      this.globals.set(key, global);
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
    switch (String.fromCharCode(opcode)) {
      case '(':
        this.stack.push(MARK);
        return;
      case '0':
        this.stack.pop();
        return;
      case '1':
        this.popToMark();
        return;
      case '2':
        return this.push(this.top());
      case 'N':
        return this.push(null);
      case '\x88':
        return this.push(true);
      case '\x89':
        return this.push(false);
      case 'I':
      case 'L':
        return this.push(this.integer(reader.line().trim()));
      case 'J':
        return this.push(reader.number(4) | 0);
      case 'K':
        return this.push(reader.byte());
      case 'M':
        return this.push(reader.number(2));
      case '\x8a':
        return this.push(this.long(reader.byte()));
      case '\x8b':
        return this.push(this.long(reader.number(4)));
      case 'F':
        return this.push(Number(reader.line()));
      case 'G': {
        const bytes = reader.take(8);
        return this.push(new DataView(bytes.buffer, bytes.byteOffset, 8).getFloat64(0));
      }
      case 'S':
        return this.push(
          reader
            .line()
            .trim()
            .replace(/^(['"])([\s\S]*)\1$/, '$2'),
        );
      case 'V':
        return this.push(reader.line());
      case 'T':
        return this.push(reader.text(this.length(4)));
      case 'U':
        return this.push(reader.text(reader.byte()));
      case 'X':
        return this.push(reader.text(this.length(4)));
      case '\x8c':
        return this.push(reader.text(reader.byte()));
      case '\x8d':
        return this.push(reader.text(this.length(8)));
      case 'B':
        return this.push(this.bytes(this.length(4)));
      case 'C':
        return this.push(this.bytes(reader.byte()));
      case '\x8e':
      case '\x96':
        return this.push(this.bytes(this.length(8)));
      case ')':
        return this.push(new PickleTuple([]));
      case 't':
        return this.push(new PickleTuple(this.popToMark()));
      case '\x85':
        return this.tuple(1);
      case '\x86':
        return this.tuple(2);
      case '\x87':
        return this.tuple(3);
      case ']':
        return this.push(new PickleList());
      case 'l':
        return this.listOf(this.popToMark());
      case 'a':
        return this.append([this.pop()]);
      case 'e':
        return this.append(this.popToMark());
      case '}':
        return this.push(new PickleDict());
      case 'd':
        return this.dictOf(this.popToMark());
      case 's': {
        const value = this.pop();
        return this.setItems([this.pop(), value]);
      }
      case 'u':
        return this.setItems(this.popToMark());
      case '\x8f':
        return this.push(new PickleSet());
      case '\x90':
        return this.append(this.popToMark());
      case '\x91': {
        const items = this.popToMark();
        this.push(new PickleSet());
        return this.append(items);
      }
      case 'p':
        return this.remember(Number(this.integer(reader.line().trim())));
      case 'q':
        return this.remember(reader.byte());
      case 'r':
        return this.remember(reader.number(4));
      case '\x94':
        return this.remember(this.memo.size);
      case 'g':
        return this.recall(Number(this.integer(reader.line().trim())));
      case 'h':
        return this.recall(reader.byte());
      case 'j':
        return this.recall(reader.number(4));
      case 'c': {
        const module = reader.line();
        return this.push(this.global(module, reader.line()));
      }
      case '\x93': {
        const name = this.text(this.pop(), 'a global name');
        return this.push(this.global(this.text(this.pop(), 'a module name'), name));
      }
      case 'R': {
        const args = this.pop();
        return this.call(this.pop(), args);
      }
      case '\x81': {
        const args = this.pop();
        return this.call(this.pop(), args);
      }
      case '\x92': {
        this.pop();
        const args = this.pop();
        return this.call(this.pop(), args);
      }
      case 'i': {
        const module = reader.line();
        const callee = this.global(module, reader.line());
        return this.call(callee, new PickleTuple(this.popToMark()));
      }
      case 'o': {
        const [callee, ...args] = this.popToMark();
        return this.call(callee ?? this.fail('an object without its class', 'a class'), new PickleTuple(args));
      }
      case 'b':
        return this.build();
      case 'P':
        return this.push(new PicklePersistent(reader.line()));
      case 'Q':
        return this.push(new PicklePersistent(this.pop()));
      case '\x80': {
        const protocol = reader.byte();
        return protocol > 5 ? this.fail(`protocol ${protocol}`, 'a pickle protocol from 0 to 5') : undefined;
      }
      case '\x95':
        // Frames only say how much to buffer; a false length must not matter.
        reader.take(8);
        return;
      case '\x82':
      case '\x83':
      case '\x84': {
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
