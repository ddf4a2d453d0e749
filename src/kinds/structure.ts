/**
 * What the numbers of a softmax classifier's gradient have in common, whatever the network: its sums over
 * the classes vanish, and its rank is at most the number of samples. Random numbers have none of it.
 */

export interface MatrixView {
  readonly rows: number;
  readonly columns: number;
  /** rows x columns, row-major. */
  readonly data: Float64Array;
}

/** A chance of one in 10^9 that random numbers look the same. */
const LOG_CHANCE = Math.log(1e-9);
/** Relative size of sums that are zero but for float32 rounding of a batch. */
const ROUNDING = 1e-4;

export interface Balance {
  /** ||sums|| / ||matrix||, about 1 for independent numbers of mean zero. */
  readonly ratio: number;
  /** The sums are zero to rounding. */
  readonly exact: boolean;
  /** The sums are smaller than independent numbers would leave them (chance below 1e-9). */
  readonly significant: boolean;
}

/**
 * How nearly a matrix sums to zero over its rows: softmax probabilities and labels both sum to one, so the gradient of
 * a head, classes x features, does.
 *
 * The squared ratio of independent numbers is chi-squared of d degrees over d, d the effective number of columns; its
 * lower tail is bounded by Chernoff's (x e^(1 - x))^(d/2).
 */
export function balanceOf({ rows, columns, data }: MatrixView): Balance {
  let sums = 0;
  let total = 0;
  let squares = 0;
  for (let column = 0; column < columns; column++) {
    let sum = 0;
    let size = 0;
    for (let row = 0; row < rows; row++) {
      const value = data[row * columns + column]!;
      sum += value;
      size += value * value;
    }
    sums += sum * sum;
    total += size;
    squares += size * size;
  }
  if (rows < 2 || total === 0) {
    return { ratio: 1, exact: false, significant: false };
  }
  const x = sums / total;
  const degrees = (total * total) / squares;
  const logChance = x >= 1 ? 0 : (degrees / 2) * (Math.log(Math.max(x, Number.MIN_VALUE)) + 1 - x);
  const exact = x < ROUNDING * ROUNDING;
  return { ratio: Math.sqrt(x), exact, significant: logChance < LOG_CHANCE };
}

/** The matrix with rows and columns exchanged. */
export function transposed({ rows, columns, data }: MatrixView): MatrixView {
  const out = new Float64Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      out[column * rows + row] = data[row * columns + column]!;
    }
  }
  return { rows: columns, columns: rows, data: out };
}

const MOST_RANK = 32;
/** Pivots below this share of the first are rounding: float32's, accumulated over a batch. */
const PIVOT = 1e-4;

export interface RankView {
  readonly rank: number;
  /** The largest rank that could have been seen. */
  readonly most: number;
}

/**
 * Numerical rank of the part of a matrix with its 32 largest rows and columns, by Gaussian elimination with full
 * pivoting. A part of a low-rank matrix has low rank too, so the part is enough to tell a gradient of few samples.
 */
export function rankOf(matrix: MatrixView): RankView {
  const { columns, data } = matrix;
  const rowIndex = largest(matrix.rows, (row) => {
    let sum = 0;
    for (let column = 0; column < columns; column++) {
      sum += data[row * columns + column]! ** 2;
    }
    return sum;
  });
  const columnIndex = largest(columns, (column) => {
    let sum = 0;
    for (const row of rowIndex) {
      sum += data[row * columns + column]! ** 2;
    }
    return sum;
  });
  const part = rowIndex.map((row) => Float64Array.from(columnIndex, (column) => data[row * columns + column]!));
  const most = Math.min(rowIndex.length, columnIndex.length);
  let first = 0;
  for (let step = 0; step < most; step++) {
    const pivot = eliminate(part, step);
    first = step === 0 ? pivot : first;
    if (pivot <= PIVOT * first) {
      return { rank: step, most };
    }
  }
  return { rank: most, most };
}

function largest(count: number, sizeOf: (index: number) => number): number[] {
  const sizes = Array.from({ length: count }, (_, index) => [index, sizeOf(index)] as const);
  return sizes
    .filter(([, size]) => size > 0)
    .sort(([, one], [, other]) => other - one)
    .slice(0, MOST_RANK)
    .map(([index]) => index);
}

/** One step of elimination, in place; the pivot's size. */
function eliminate(part: readonly Float64Array[], step: number): number {
  let best = 0;
  let [atRow, atColumn] = [step, step];
  for (let row = step; row < part.length; row++) {
    for (let column = step; column < part[row]!.length; column++) {
      const size = Math.abs(part[row]![column]!);
      if (size > best) {
        [best, atRow, atColumn] = [size, row, column];
      }
    }
  }
  if (best === 0) {
    return 0;
  }
  for (const row of part) {
    [row[step], row[atColumn]] = [row[atColumn]!, row[step]!];
  }
  const own = Float64Array.from(part[atRow]!);
  part[atRow]!.set(part[step]!);
  part[step]!.set(own);
  for (let row = step + 1; row < part.length; row++) {
    const factor = part[row]![step]! / own[step]!;
    for (let column = step; column < own.length; column++) {
      part[row]![column]! -= factor * own[column]!;
    }
  }
  return best;
}

/** Entries that are exactly zero. */
export interface ZeroPattern {
  /** Share of rows that are zero throughout. */
  readonly rows: number;
  /** Share of zeros among the entries outside all-zero rows, columns and kernels, and how many there are. */
  readonly scattered: number;
  readonly scatteredCount: number;
}

/** @param kernel numbers of one kernel of a convolution: an input that never fires leaves whole kernels zero */
export function zeroPattern({ rows, columns, data }: MatrixView, kernel: number): ZeroPattern {
  const rowHas = new Uint8Array(rows);
  const columnHas = new Uint8Array(columns);
  const blocks = columns / kernel;
  const blockHas = new Uint8Array(rows * blocks);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      if (data[row * columns + column] !== 0) {
        rowHas[row] = 1;
        columnHas[column] = 1;
        blockHas[row * blocks + Math.floor(column / kernel)] = 1;
      }
    }
  }
  let inside = 0;
  let zeros = 0;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; rowHas[row] === 1 && column < columns; column++) {
      if (columnHas[column] === 1 && (kernel === 1 || blockHas[row * blocks + Math.floor(column / kernel)] === 1)) {
        inside++;
        zeros += data[row * columns + column] === 0 ? 1 : 0;
      }
    }
  }
  const deadRows = rowHas.reduce((count, has) => count + 1 - has, 0);
  return { rows: deadRows / Math.max(rows, 1), scattered: zeros / Math.max(inside, 1), scatteredCount: zeros };
}

/**
 * A normalisation's gains: positive and about 1. Gradients of them are small and of both signs.
 */
export function looksLikeGains(values: Float64Array): boolean {
  if (values.length < 4) {
    return false;
  }
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const spread = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
  return mean > 0.3 && mean < 3 && spread < 0.3 * mean && values.every((value) => value > 0);
}
