import { TransformerProblem } from './problem.js';

/** The names and shapes of a checkpoint, as those who know a family's names ask for them. */

export interface NamedShape {
  readonly name: string;
  readonly shape: readonly number[];
}

export class TensorNames {
  private readonly shapes: ReadonlyMap<string, readonly number[]>;

  /**
   * @param sizesFrom for people: what says how large the tensors should be
   * @param trained names of the tensors that have a gradient, where that is known
   */
  constructor(
    entries: readonly NamedShape[],
    private readonly sizesFrom: string,
    readonly trained?: ReadonlySet<string>,
  ) {
    this.shapes = new Map(entries.map(({ name, shape }) => [name, shape]));
  }

  has(name: string): boolean {
    return this.shapes.has(name);
  }

  /** @throws TransformerProblem when there is none, or of another rank */
  shapeOf(name: string, rank: number): readonly number[] {
    const shape = this.shapes.get(name);
    if (!shape) {
      throw new TransformerProblem(`The checkpoint holds no "${name}", which such a transformer has.`);
    }
    if (shape.length !== rank || !shape.every((size) => size > 0)) {
      throw new TransformerProblem(`"${name}" is ${inWords(shape)}, which is not a ${RANKS[rank] ?? 'tensor'}.`);
    }
    return shape;
  }

  /** The name again. @throws TransformerProblem when there is no such tensor, or of another shape */
  need(name: string, shape: readonly number[]): string {
    const own = this.shapeOf(name, shape.length);
    if (!own.every((size, axis) => size === shape[axis])) {
      throw new TransformerProblem(`"${name}" is ${inWords(own)}, but ${inWords(shape)} by ${this.sizesFrom}.`);
    }
    return name;
  }

  /** Null where there is none. @throws TransformerProblem when there is one of another shape */
  optional(name: string, shape: readonly number[]): string | null {
    return this.has(name) ? this.need(name, shape) : null;
  }

  /** How many numbers from 0 stand between `before` and `after` in names. */
  countNumbered(before: string, after: string): number {
    let count = 0;
    while (this.has(`${before}${count}${after}`)) {
      count++;
    }
    return count;
  }

  /**
   * What stands before a name for each time that it is there as a name's end, those of trained tensors first.
   *
   * @param beside another name's end that has to be there with the same before it
   */
  prefixesOf(end: string, beside: string): string[] {
    const found = [...this.shapes.keys()]
      .filter((name) => name === end || name.endsWith(`.${end}`))
      .map((name) => name.slice(0, name.length - end.length))
      .filter((prefix) => this.has(prefix + beside));
    const isTrained = (prefix: string): boolean => [end, beside].some((own) => this.trained?.has(prefix + own));
    return [...found.filter(isTrained), ...found.filter((prefix) => !isTrained(prefix))];
  }
}

const RANKS: Record<number, string> = { 1: 'vector', 2: 'matrix' };

function inWords(shape: readonly number[]): string {
  return shape.length === 1 ? `${shape[0]} long` : shape.length === 0 ? 'a single number' : shape.join(' x ');
}
