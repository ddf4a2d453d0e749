import { TransformerProblem } from './problem.js';

/** A `config.json` of Hugging Face, which is anybody's file: each field is checked where it is read. */

const MOST_SHOWN = 40;

export class Config {
  private readonly fields: ReadonlyMap<string, unknown>;

  /**
   * @param source for people: the file
   * @param path of the object within the file, with a dot behind it
   */
  constructor(
    value: object,
    readonly source: string,
    private readonly path = '',
  ) {
    this.fields = new Map(Object.entries(value));
  }

  /**
   * The first of these fields that is there and not null.
   *
   * @throws TransformerProblem when it is no whole number between the bounds
   */
  whole(names: readonly string[], most: number, least = 1): number | undefined {
    return this.checked(
      names,
      (value): value is number => Number.isInteger(value) && (value as number) >= least && (value as number) <= most,
      `a whole number from ${least} to ${most}`,
    );
  }

  /** Tokens of a vocabulary that a field names, one or a list; anything else is passed over. */
  tokens(name: string, vocabulary: number): number[] {
    return [this.fields.get(name)]
      .flat()
      .filter((own): own is number => typeof own === 'number' && Number.isInteger(own) && own >= 0 && own < vocabulary);
  }

  /** @throws TransformerProblem when the field is there and no number between the bounds */
  real(name: string, least: number, most: number): number | undefined {
    return this.checked(
      [name],
      (value): value is number => typeof value === 'number' && value >= least && value <= most,
      `a number from ${least} to ${most}`,
    );
  }

  /** @throws TransformerProblem when the field is there and neither true nor false */
  flag(name: string): boolean | undefined {
    return this.checked([name], (value): value is boolean => typeof value === 'boolean', 'true or false');
  }

  /** @throws TransformerProblem when the field is there and no text */
  text(names: readonly string[]): string | undefined {
    return this.checked(names, (value): value is string => typeof value === 'string', 'a text');
  }

  /** @throws TransformerProblem when the field is there and no list of texts */
  texts(name: string): readonly string[] | undefined {
    return this.checked(
      [name],
      (value): value is string[] => Array.isArray(value) && value.every((own) => typeof own === 'string'),
      'a list of texts',
    );
  }

  /** @throws TransformerProblem when the first of these fields that is there is no object */
  object(names: readonly string[]): Config | undefined {
    const name = names.find((own) => this.has(own));
    const value = this.checked(
      names,
      (own): own is object => typeof own === 'object' && !Array.isArray(own),
      'an object',
    );
    return name === undefined || value === undefined
      ? undefined
      : new Config(value, this.source, `${this.path}${name}.`);
  }

  /** Names of all fields. */
  names(): string[] {
    return [...this.fields.keys()];
  }

  /** Whether a field is there and not null. */
  has(name: string): boolean {
    return (this.fields.get(name) ?? null) !== null;
  }

  /** Whether a field is there, were it null. */
  mentions(name: string): boolean {
    return this.fields.has(name);
  }

  private checked<T>(names: readonly string[], is: (value: unknown) => value is T, expected: string): T | undefined {
    const name = names.find((own) => this.has(own));
    if (name === undefined) {
      return undefined;
    }
    const value = this.fields.get(name);
    if (!is(value)) {
      const found = JSON.stringify(value);
      const shown = found.length > MOST_SHOWN ? `${found.slice(0, MOST_SHOWN)}...` : found;
      throw new TransformerProblem(`${this.source}: "${this.path}${name}" is ${shown}, which is not ${expected}.`);
    }
    return value;
  }
}
