import { ACCOUNTANTS } from '../defences/privacy/accountants.js';
import {
  type Adjacency,
  type PrivacySetting,
  type PrivacyUnit,
  noiseMultiplierFor,
  privacyStatement,
} from '../defences/privacy/privacy-statement.js';
import { badArguments, numberOption, oneOf, parse, textOf, wholeOption } from './arguments.js';
import { EXIT } from './exit-code.js';
import type { CliSurroundings } from './surroundings.js';
import { DEFAULT_COLUMNS, wrap } from './text-layout.js';

/** `gradleak epsilon`: the privacy statement of a mechanism, from its numbers alone. */

const UNITS: Record<string, PrivacyUnit> = { sample: 'sample', 'client-update': 'client update' };
const ADJACENCIES: Record<string, Adjacency> = { 'add-or-remove': 'add or remove one', replace: 'replace one' };
export const UNIT_NAMES = Object.keys(UNITS);
export const ADJACENCY_NAMES = Object.keys(ADJACENCIES);

const text = { type: 'string' } as const;

/** @throws UnusableInputError for numbers that are missing or out of range */
export function epsilon(args: readonly string[], surroundings: Pick<CliSurroundings, 'print' | 'columns'>): number {
  const { values, positionals } = parse(args, {
    'noise-multiplier': text,
    epsilon: text,
    delta: text,
    'clip-norm': text,
    rounds: text,
    'sampling-rate': text,
    unit: text,
    adjacency: text,
    population: text,
    accountant: text,
    json: { type: 'boolean', default: false },
  });
  if (positionals[0] !== undefined) {
    throw badArguments(`"${positionals[0]}"`, 'options with numbers: this reads no file');
  }
  const value = textOf(values);
  const statement = privacyStatement(settingOf(value));
  surroundings.print(
    values.json === true
      ? `${JSON.stringify(statement, undefined, 1)}\n`
      : `${statement.sentences.flatMap((own) => wrap(own, surroundings.columns ?? DEFAULT_COLUMNS)).join('\n')}\n`,
  );
  return EXIT.done;
}

function settingOf(value: (name: string) => string | undefined): PrivacySetting {
  const delta = numberOption(value, 'delta', 0);
  const noiseMultiplier = numberOption(value, 'noise-multiplier', 0);
  const target = numberOption(value, 'epsilon', 0);
  if (delta === undefined) {
    throw badArguments('no --delta', 'a probability well below one in the number of units, such as 1e-5');
  }
  if ((noiseMultiplier === undefined) === (target === undefined)) {
    throw badArguments(
      noiseMultiplier === undefined ? 'no --noise-multiplier' : '--noise-multiplier with --epsilon',
      'one of both',
    );
  }
  const [rounds, population] = [wholeOption(value, 'rounds', 1), wholeOption(value, 'population', 1)];
  const samplingRate = numberOption(value, 'sampling-rate', 0);
  const accountant = oneOf('--accountant', value('accountant'), ACCOUNTANTS);
  const setting = {
    clipNorm: numberOption(value, 'clip-norm', 0) ?? 1,
    delta,
    unit: named(UNITS, '--unit', value('unit'), 'sample'),
    adjacency: named(ADJACENCIES, '--adjacency', value('adjacency'), 'add or remove one'),
    ...(rounds === undefined ? {} : { rounds }),
    ...(samplingRate === undefined ? {} : { samplingRate }),
    ...(population === undefined ? {} : { population }),
    ...(accountant === undefined ? {} : { accountant }),
  };
  return { ...setting, noiseMultiplier: noiseMultiplier ?? inDigits(noiseMultiplierFor(target ?? 0, setting)) };
}

function named<T>(table: Record<string, T>, option: string, given: string | undefined, otherwise: T): T {
  return table[oneOf(option, given, Object.keys(table)) ?? ''] ?? otherwise;
}

/** Five digits, rounded up: less noise would not give the epsilon that was asked for. */
function inDigits(noise: number): number {
  const unit = 10 ** (Math.floor(Math.log10(noise)) - 4);
  return Number((Math.ceil(noise / unit) * unit).toPrecision(5));
}
