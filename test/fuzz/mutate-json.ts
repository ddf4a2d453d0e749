import { EXTREMES, type Mutator, NAMES, longText, rearranged } from './mutate-bytes.js';
import type { Random } from './random.js';

/** JSON as a tree: a node of another type, at its limits, nested, repeated, or taken from elsewhere. */

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Bytes that are no JSON come back as they are, and so do trees that have grown too deep. */
export const mutateJson: Mutator = (bytes, random, donor) => {
  try {
    return changed(bytes, random, donor);
  } catch {
    return bytes;
  }
};

function changed(bytes: Buffer, random: Random, donor: Buffer): Buffer {
  const holder: Json[] = [JSON.parse(bytes.toString('utf8')) as Json];
  const slots = slotsOf(holder);
  const { parent, key } = random.pick(slots);
  const others = random.chance(0.1) ? slotsOf([JSON.parse(donor.toString('utf8')) as Json]) : slots;
  const other = random.pick(others);
  // A copy: a value that is put into itself would have no text.
  changeSlot(parent, key, random, structuredClone(valueAt(other.parent, other.key)));
  return Buffer.from(JSON.stringify(holder[0]));
}

type Parent = Json[] | Record<string, Json>;

interface Slot {
  readonly parent: Parent;
  readonly key: string | number;
}

const MOST_SLOTS = 20_000;

function slotsOf(root: Json[]): Slot[] {
  const slots: Slot[] = [];
  const pending: Parent[] = [root];
  for (let parent = pending.pop(); parent && slots.length < MOST_SLOTS; parent = pending.pop()) {
    const keys = Array.isArray(parent) ? parent.keys() : Object.keys(parent);
    for (const key of keys) {
      slots.push({ parent, key });
      const value = valueAt(parent, key);
      if (typeof value === 'object' && value !== null) {
        pending.push(value);
      }
    }
  }
  return slots;
}

function valueAt(parent: Parent, key: string | number): Json {
  return (parent as Record<string, Json>)[key] ?? null;
}

/** As an own property, whatever its name. */
function put(parent: Parent, key: string | number, value: Json): void {
  Object.defineProperty(parent, key, { value, enumerable: true, writable: true, configurable: true });
}

function changeSlot(parent: Parent, key: string | number, random: Random, other: Json): void {
  const own = valueAt(parent, key);
  if (random.chance(0.15) && !Array.isArray(parent)) {
    if (random.chance(0.5)) {
      put(parent, random.chance(0.7) ? random.pick(NAMES) : longText(random), own);
    }
    Reflect.deleteProperty(parent, key);
  } else if (random.chance(0.3) && Array.isArray(own)) {
    put(parent, key, rearranged(own, random, [other]));
  } else if (random.chance(0.1) && typeof own === 'object' && own !== null && !Array.isArray(own)) {
    put(own, random.pick(NAMES), other);
  } else if (random.chance(0.15)) {
    put(parent, key, other);
  } else {
    put(parent, key, strange(own, random));
  }
}

const NUMBERS = [-1, 0.5, -0, 1e308, -1e308, 5e-324, 1e-300, -(2 ** 31), ...EXTREMES];

function strange(own: Json, random: Random): Json {
  switch (random.below(10)) {
    case 0:
      return null;
    case 1:
      return random.chance(0.5);
    case 2:
    case 3:
    case 4:
      return random.pick(NUMBERS);
    case 5:
      return random.pick(NAMES);
    case 6:
      return longText(random);
    case 7:
      return nested(own, random);
    case 8:
      return random.chance(0.5) ? [] : {};
    default:
      return { [random.pick(NAMES)]: own, toString: 1 };
  }
}

function nested(own: Json, random: Random): Json {
  let value = own;
  const isList = random.chance(0.5);
  for (let left = random.pick([1, 2, 10, 100, 250, 300, 2000]); left > 0; left--) {
    value = isList ? [value] : { layers: value };
  }
  return value;
}
