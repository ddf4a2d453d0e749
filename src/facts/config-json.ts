import { parseJson, readBounded } from '../formats/json-file.js';
import { messageOf } from '../protocol/errors.js';

/** What Hugging Face's `save_pretrained` writes beside a checkpoint, read as JSON and no further. */

export const CONFIG_FILE = 'config.json';
const MAX_CONFIG_BYTES = 2 ** 20;
const MOST_SAID = 200;

/** @returns the file's object; why there is none, as a part of a sentence */
export function readConfigJson(path: string): object | string {
  let value: unknown;
  try {
    value = parseJson(readBounded(path, MAX_CONFIG_BYTES));
  } catch (error) {
    return messageOf(error).slice(0, MOST_SAID);
  }
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : 'no JSON object';
}
