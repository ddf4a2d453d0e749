import type { ProductKernel } from '../../graph/product-kernel.js';
import { dot, joined, norm } from '../../recovery/vectors.js';

/** One column of each group, so that their sum is nearest to a target. */
export interface ChosenColumns {
  /** By group: the column's index in it. */
  readonly picked: readonly number[];
  /** Length of the target less the sum. */
  readonly left: number;
  /** The smallest change of the sum that other columns of one group, or of two, would make. */
  readonly least: number;
}

/** Exchanges columns of one group, or of two at once, as long as the sum comes nearer. */
export async function chooseColumns(
  groups: readonly (readonly Float64Array[])[],
  target: Float64Array,
  product: ProductKernel,
): Promise<ChosenColumns> {
  const all = groups.flat();
  const count = all.length;
  const flat = joined(all);
  const products = await product(flat, flat, count, count, target.length);
  const along = all.map((column) => dot(column, target));
  const starts = groups.map((_, at) => groups.slice(0, at).reduce((sum, { length }) => sum + length, 0));
  const between = (one: number, other: number): number => products[one * count + other]!;
  const places = groups.map((group, at) => group.map((_, index) => starts[at]! + index));
  const chosen = starts.slice();

  /** By how much the square of the distance grows when columns take the places of others. */
  const growth = (moves: readonly Move[]): number => {
    const after = chosen.map((own, group) => moves.find((move) => move.group === group)?.to ?? own);
    return squareOf(after) - squareOf(chosen);
  };
  const squareOf = (own: readonly number[]): number =>
    own.reduce((sum, one) => sum - 2 * along[one]! + own.reduce((inner, other) => inner + between(one, other), 0), 0);
  const lengthOf = (moves: readonly Move[]): number => {
    const terms = moves.flatMap(({ group, to }) => [
      { column: to, sign: 1 },
      { column: chosen[group]!, sign: -1 },
    ]);
    const square = terms.reduce(
      (sum, one) =>
        sum + terms.reduce((inner, other) => inner + one.sign * other.sign * between(one.column, other.column), 0),
      0,
    );
    return Math.sqrt(Math.max(square, 0));
  };
  const rounding = 1e-12 * dot(target, target);
  for (let hasChanged = true; hasChanged;) {
    hasChanged = false;
    for (const moves of movesFrom(places, chosen)) {
      if (growth(moves) < -rounding) {
        for (const { group, to } of moves) {
          chosen[group] = to;
        }
        hasChanged = true;
      }
    }
  }
  const rest = target.slice();
  for (const own of chosen) {
    all[own]!.forEach((value, at) => (rest[at]! -= value));
  }
  let least = Infinity;
  for (const moves of movesFrom(places, chosen)) {
    least = Math.min(least, lengthOf(moves));
  }
  return { picked: chosen.map((own, at) => own - starts[at]!), left: norm(rest), least };
}

interface Move {
  readonly group: number;
  readonly to: number;
}

/** All changes of one group, then of two; what is chosen may change on the way. */
function* movesFrom(places: readonly (readonly number[])[], chosen: readonly number[]): Generator<Move[]> {
  for (const [group, own] of places.entries()) {
    for (const to of own.filter((place) => place !== chosen[group])) {
      yield [{ group, to }];
    }
  }
  for (const [group, own] of places.entries()) {
    for (let other = group + 1; other < places.length; other++) {
      for (const to of own) {
        for (const second of places[other]!) {
          if (to !== chosen[group] && second !== chosen[other]) {
            yield [
              { group, to },
              { group: other, to: second },
            ];
          }
        }
      }
    }
  }
}
