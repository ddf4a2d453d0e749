import { closeSync, fstatSync, readFileSync } from 'node:fs';
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import { openRemote, openWithoutWaiting } from './byte-source.js';

/** JSON files of users: bounded before they are read, and checked against the published schema before they are used. */

/** Deeper lists and objects are nobody's, and functions that call themselves end in them. */
const MOST_NESTED = 256;
/** Each takes far more memory and time than its bytes; the largest tokenizers have about a million. */
const MOST_LISTS = 2 ** 21;
const MOST_MEMBERS = 2 ** 22;

/**
 * @returns the whole file
 * @throws Error with a part of a sentence, when it is no plain file or larger than this
 */
export function readBounded(path: string, maxBytes: number): Buffer {
  const remote = openRemote(path);
  if (remote) {
    if (remote.size > maxBytes) {
      throw new Error(`a file of more than ${maxBytes / 2 ** 20} MiB`);
    }
    return Buffer.from(remote.read(0, remote.size));
  }
  const descriptor = openWithoutWaiting(path);
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) {
      throw new Error(stat.isDirectory() ? 'a folder' : 'something that is not a plain file');
    }
    if (stat.size > maxBytes) {
      throw new Error(`a file of more than ${maxBytes / 2 ** 20} MiB`);
    }
    const bytes = readFileSync(descriptor);
    if (bytes.length < stat.size) {
      throw new Error('a file that was cut short while it was read');
    }
    return bytes;
  } finally {
    closeSync(descriptor);
  }
}

export interface JsonBounds {
  /** Lists and objects. */
  readonly lists: number;
  /** Names in objects. */
  readonly members: number;
}

const BOUNDS: JsonBounds = { lists: MOST_LISTS, members: MOST_MEMBERS };

/** @throws Error when it is not JSON, or has deeper or more lists, objects or names in them than any file that is meant */
export function parseJson(bytes: Buffer, { lists, members }: JsonBounds = BOUNDS): unknown {
  const own = structureOf(bytes);
  if (own.lists > lists || own.members > members) {
    throw new Error('too many lists and objects');
  }
  if (own.depth > MOST_NESTED) {
    throw new Error(`lists and objects nested deeper than ${MOST_NESTED}`);
  }
  return JSON.parse(bytes.toString('utf8').replace(/^\uFEFF/, ''));
}

const [QUOTE, BACKSLASH, OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT, COLON] = Buffer.from('"\\[]{}:');

/** Counted outside of texts, before anything is built. */
function structureOf(bytes: Buffer): JsonBounds & { readonly depth: number } {
  let [lists, members, depth, deepest] = [0, 0, 0, 0];
  for (let at = 0; at < bytes.length; at++) {
    switch (bytes[at]) {
      case QUOTE:
        for (at++; at < bytes.length && bytes[at] !== QUOTE; at++) {
          at += Number(bytes[at] === BACKSLASH);
        }
        break;
      case OPEN_LIST:
      case OPEN_OBJECT:
        lists++;
        deepest = Math.max(deepest, ++depth);
        break;
      case CLOSE_LIST:
      case CLOSE_OBJECT:
        depth--;
        break;
      case COLON:
        members++;
        break;
      default:
        break;
    }
  }
  return { lists, members, depth: deepest };
}

/** Tells values of a type by its schema. */
export interface Validator<T> {
  is(value: unknown): value is T;
  /** What is wrong with the value last looked at, as what was found there. */
  problem(): string;
}

/** @param schema from `media/`; compiled when first used, as most runs need none */
export function validatorOf<T>(schema: object): Validator<T> {
  let compiled: ValidateFunction<T> | undefined;
  return {
    is(value): value is T {
      // Numbers that may be null are a union of types, which `strict` takes for an oversight unless told.
      compiled ??= new Ajv({ strict: true, allowUnionTypes: true, allErrors: false }).compile<T>(schema);
      return compiled(value);
    },
    problem: () => inWords(compiled?.errors?.[0]),
  };
}

/** Where the failing value is, and what is wrong with it. */
function inWords(error: ErrorObject | undefined): string {
  if (!error) {
    return 'nothing wrong';
  }
  const where = pathInWords(error.instancePath);
  const params = error.params as Record<string, unknown>;
  switch (error.keyword) {
    case 'type': {
      const types = String(params.type)
        .split(',')
        .map((type) => TYPES[type] ?? type);
      return where === '' ? `what is not ${types.join(' or ')}` : `${where}, which is not ${types.join(' or ')}`;
    }
    case 'enum':
      return `${where}, which is none of ${(params.allowedValues as unknown[]).map((own) => JSON.stringify(own)).join(', ')}`;
    case 'const':
      return `${where}, which is not ${JSON.stringify(params.allowedValue)}`;
    case 'required':
      return `${where === '' ? '' : `${where} with `}no "${String(params.missingProperty)}"`;
    default:
      // The library's own words: "must be >= 1", "must NOT have fewer than 1 items".
      return `${where}, which ${error.message ?? 'is not as the schema says'}`;
  }
}

const TYPES: Record<string, string> = {
  object: 'an object',
  array: 'a list',
  string: 'a text',
  number: 'a number',
  integer: 'a whole number',
  boolean: 'true or false',
};

/** `/normalisation/mean/0` as `"normalisation.mean[0]"`. */
function pathInWords(pointer: string): string {
  const steps = pointer
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
  const path = steps.map((step) => (/^\d+$/.test(step) ? `[${step}]` : `.${step}`)).join('');
  return path === '' ? '' : `"${path.replace(/^\./, '')}"`;
}

/** What an error says besides what was found. */
export interface JsonWords {
  readonly expected: string;
  readonly advice: string;
}

/** @throws UnusableInputError when the file cannot be read, is too large, is not JSON or not of this type */
export function readJson<T>(path: string, maxBytes: number, validate: Validator<T>, words: JsonWords): T {
  let value: unknown;
  try {
    value = parseJson(readBounded(path, maxBytes));
  } catch (error) {
    throw unusableJson(path, messageOf(error), words);
  }
  if (!validate.is(value)) {
    throw unusableJson(path, validate.problem(), words);
  }
  return value;
}

/** The error for a JSON file in which something was found that cannot be used. */
export function unusableJson(path: string, found: string, words: JsonWords): UnusableInputError {
  return new UnusableInputError({ code: 'malformed-file', file: path, found, ...words });
}
