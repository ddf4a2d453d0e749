import { type TensorEntry, type TensorFile, elementCount } from '../formats/tensor-file.js';
import { isEmbedding } from './head-structure.js';
import type { Matching, TensorPair } from './matching.js';

/**
 * A head that shares its weight with the token embedding. Its gradient is the head's plus that of the look-ups, so neither
 * rank nor sum over the classes can be read from it, and no other tensor of the file tells of the labels.
 */

/** With fewer rows than this share, a gradient is of look-ups alone; a softmax reaches every row. */
const NEARLY_ALL = 0.9;
/** Share of rows on the side of their common mean: all rows of a softmax are weighted sums of the same features, noise's are not. */
const ALIGNED = 0.75;
const SAMPLED_ROWS = 4096;
const PIECES = 64;
const COMPARED = 1024;
const NOT_TOKENS = /(pos|wpe|type|segment|relative)/i;

/** The token embedding: the one with the most rows; undefined without any. */
export function tokenEmbedding({ pairs }: Matching): TensorPair | undefined {
  return pairs
    .filter(({ parameter: { name, shape } }) => shape.length === 2 && isEmbedding(name) && !NOT_TOKENS.test(name))
    .sort((one, other) => (other.parameter.shape[0] ?? 0) - (one.parameter.shape[0] ?? 0))[0];
}

/** The matrix that holds the same numbers as this one under another name, such as `lm_head.weight` beside `wte.weight`. */
export function copyOf(entry: TensorEntry, checkpoint: TensorFile): TensorEntry | undefined {
  const [rows, cols] = entry.shape;
  return checkpoint.entries.find(
    (other) =>
      other !== entry &&
      other.group === entry.group &&
      other.dtype === entry.dtype &&
      other.shape.length === 2 &&
      other.shape[0] === rows &&
      other.shape[1] === cols &&
      holdSame(entry, other, checkpoint),
  );
}

/**
 * Whether a gradient is dense over an embedding's rows: neither of look-ups alone nor of a frozen embedding.
 *
 * @throws UnusableInputError when the gradient cannot be read
 */
export function isDense({ gradient }: TensorPair, gradients: TensorFile): boolean {
  const rows = sampleRows(gradient, gradients);
  return rows.length > 0 && rows.filter((row) => row.some((value) => value !== 0)).length >= NEARLY_ALL * rows.length;
}

/**
 * Whether the rows of a dense gradient fit a softmax over them: the row of an entry that is neither target nor looked up is
 * sum_n p_n h_n with all p_n > 0, so such rows point the same way. Rows of added noise do not.
 *
 * @throws UnusableInputError when the gradient cannot be read
 */
export function looksTied(pair: TensorPair, gradients: TensorFile): boolean {
  if (!isDense(pair, gradients)) {
    return false;
  }
  const rows = sampleRows(pair.gradient, gradients);
  const sizes = rows.map((row) => row.reduce((sum, value) => sum + value * value, 0));
  const median = [...sizes].sort((one, other) => one - other)[Math.floor(sizes.length / 2)] ?? 0;
  // Targets and looked-up tokens are few and large; they are not what this is told from.
  const background = rows.flatMap((row, index) => {
    const size = sizes[index] ?? 0;
    return size <= median && size > 0 ? [row.map((value) => value / Math.sqrt(size))] : [];
  });
  const total = new Float64Array(pair.gradient.shape[1] ?? 0);
  for (const row of background) {
    row.forEach((value, col) => (total[col] = (total[col] ?? 0) + value));
  }
  // A row's own part of the mean would always be on its side.
  const aligned = background.filter(
    (row) => row.reduce((sum, value, col) => sum + value * ((total[col] ?? 0) - value), 0) > 0,
  );
  return background.length > 1 && aligned.length >= ALIGNED * background.length;
}

/** All rows, or of a large embedding some thousands in pieces from all over it. */
function sampleRows({ name, shape }: TensorEntry, gradients: TensorFile): Float64Array[] {
  const [rows = 0, cols = 0] = shape;
  const piece = Math.max(1, Math.floor(SAMPLED_ROWS / PIECES));
  const starts =
    rows <= SAMPLED_ROWS
      ? [0]
      : Array.from({ length: PIECES }, (_, at) => Math.floor((at * (rows - piece)) / (PIECES - 1)));
  const length = rows <= SAMPLED_ROWS ? rows : piece;
  return starts.flatMap((start) => {
    const { data } = gradients.read(name, { start: start * cols, end: (start + length) * cols });
    return Array.from({ length }, (_, row) => data.subarray(row * cols, (row + 1) * cols));
  });
}

/** By pieces from all over them: trained numbers that agree in thousands of places are the same. */
function holdSame(one: TensorEntry, other: TensorEntry, file: TensorFile): boolean {
  const count = elementCount(one.shape);
  const piece = Math.min(COMPARED, count);
  const starts = Array.from({ length: PIECES }, (_, at) => Math.floor((at * (count - piece)) / (PIECES - 1)));
  return [...new Set(starts)].every((start) => {
    const range = { start, end: start + piece };
    const own = file.read(one.name, range).data;
    const copy = file.read(other.name, range).data;
    // Matrices of one constant, such as zeros before training, agree without being one.
    return own.every((value, index) => value === copy[index]) && (start > 0 || own.some((value) => value !== own[0]));
  });
}
