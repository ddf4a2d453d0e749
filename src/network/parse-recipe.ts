import { UnusableInputError } from '../protocol/errors.js';
import type { Field, FieldKind } from './layers/layer-rule.js';
import { LAYER_RULES } from './layers/rules.js';
import type { LayerOp, Recipe } from './layers/recipe.js';

/** A recipe that somebody wrote or that a file was turned into, checked layer by layer with a sentence for what is wrong. */

const COMMON: Readonly<Record<string, Field>> = { id: { kind: 'string' }, inputs: { kind: 'strings' } };

/**
 * @param file named in messages
 * @param advice what to do about a recipe that cannot be used
 * @throws UnusableInputError that names the layer and the field
 */
export function parseRecipe(
  value: unknown,
  file: string,
  advice = 'Correct the recipe; its schema is media/recipe.schema.json.',
): Recipe {
  const bad = (found: string, expected: string): UnusableInputError =>
    new UnusableInputError({
      code: 'bad-network',
      file,
      found,
      expected,
      advice,
    });
  if (!isRecord(value) || value.schemaVersion !== 1 || !Array.isArray(value.layers)) {
    throw bad('no recipe', 'a JSON object with "schemaVersion": 1, "input" and "layers"');
  }
  if (
    !isNumbers(value.input) ||
    value.input.length === 0 ||
    !value.input.every((size) => Number.isInteger(size) && size > 0)
  ) {
    throw bad(`"input": ${JSON.stringify(value.input)}`, 'the shape of one input, such as [3, 32, 32]');
  }
  if (value.name !== undefined && typeof value.name !== 'string') {
    throw bad(`"name": ${JSON.stringify(value.name)}`, 'a text');
  }
  if (value.layers.length === 0) {
    throw bad('no layers', 'at least one layer');
  }
  value.layers.forEach((layer: unknown, index) => {
    checkLayer(layer, index, bad);
  });
  return value as unknown as Recipe;
}

function checkLayer(layer: unknown, index: number, bad: (found: string, expected: string) => UnusableInputError): void {
  const op = isRecord(layer) ? layer.op : undefined;
  if (!isRecord(layer) || typeof op !== 'string' || !Object.hasOwn(LAYER_RULES, op)) {
    throw bad(
      `layer ${index} with the operation ${JSON.stringify(op)}`,
      `one of ${Object.keys(LAYER_RULES).join(', ')}`,
    );
  }
  const fields: Readonly<Record<string, Field>> = { ...COMMON, ...LAYER_RULES[op as LayerOp].fields };
  for (const [name, { kind, required }] of Object.entries(fields)) {
    if (required && !(name in layer)) {
      throw bad(`layer ${index} (${op}) without "${name}"`, `"${name}": ${describe(kind)}`);
    }
  }
  for (const [name, own] of Object.entries(layer)) {
    if (name === 'op') {
      continue;
    }
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (field === undefined) {
      throw bad(`layer ${index} (${op}) with the unknown field "${name}"`, Object.keys(fields).join(', '));
    }
    const { kind, words } = field;
    if (!fits(own, kind) || (words && !words.includes(own as string))) {
      throw bad(`layer ${index} (${op}) with "${name}": ${JSON.stringify(own)}`, words?.join(' or ') ?? describe(kind));
    }
  }
}

function fits(value: unknown, kind: FieldKind): boolean {
  const whole = (own: unknown): boolean => typeof own === 'number' && Number.isInteger(own) && own >= 0;
  switch (kind) {
    case 'string':
      return typeof value === 'string' && value !== '';
    case 'number':
      return typeof value === 'number' && Number.isFinite(value);
    case 'boolean':
      return typeof value === 'boolean';
    case 'extent':
      return (
        (whole(value) && value !== 0) ||
        (Array.isArray(value) && value.length === 2 && value.every((own) => whole(own) && own !== 0))
      );
    case 'padding':
      return (
        value === 'same' ||
        whole(value) ||
        (Array.isArray(value) && [2, 4].includes(value.length) && value.every(whole))
      );
    case 'numbers':
      return isNumbers(value);
    case 'strings':
      return Array.isArray(value) && value.length > 0 && value.every((own) => typeof own === 'string');
  }
}

function describe(kind: FieldKind): string {
  switch (kind) {
    case 'string':
      return 'a name';
    case 'number':
      return 'a number';
    case 'boolean':
      return 'true or false';
    case 'extent':
      return 'a whole number, or [rows, columns]';
    case 'padding':
      return 'a whole number, [rows, columns], [top, left, bottom, right] or "same"';
    case 'numbers':
      return 'a list of numbers';
    default:
      return 'a list of names';
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((own) => typeof own === 'number' && Number.isFinite(own));
}
