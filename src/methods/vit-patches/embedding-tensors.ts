import { type TensorEntry, type TensorFile, elementCount, isFloating } from '../../formats/tensor-file.js';

/** Which tensors of a gradient are of a patch embedding and of its position embedding: by shapes that fit, names first. */

export interface EmbeddingTensors {
  readonly position: TensorEntry;
  readonly weight: TensorEntry;
  readonly bias: TensorEntry | undefined;
  /** Rows of the position embedding, leading tokens included. */
  readonly tokens: number;
  /** d, numbers of a token. */
  readonly width: number;
  /** Numbers of a patch. */
  readonly numbers: number;
  /** Channels, height, width of a convolution's kernel; undefined for a linear layer. */
  readonly kernel: readonly [number, number, number] | undefined;
  /** d is the weight's last axis, as Keras and Flax store it. */
  readonly widthLast: boolean;
}

const POSITION = /pos/i;
const PATCH = /patch|conv_proj|(^|\.)conv1\./i;
const MOST_POSITIONS = 16;
const MOST_PAIRS = 8;
const FEWEST_TOKENS = 4;

/** Pairs that may belong together, those with telling names first; which do, their numbers tell. */
export function embeddingPairs({ entries }: TensorFile): readonly EmbeddingTensors[] {
  const floating = entries.filter(({ dtype }) => isFloating(dtype));
  const byName = new Map(floating.map((entry) => [entry.name, entry]));
  const positions = floating.filter(isPosition).sort((one, other) => isCalled(other) - isCalled(one));
  const pairs = positions.slice(0, MOST_POSITIONS).flatMap((position) => {
    const [tokens = 0, width = 0] = position.shape.slice(-2);
    return floating.flatMap((weight) => weightOf(weight, { position, tokens, width }, byName) ?? []);
  });
  const named = ({ position, weight }: EmbeddingTensors): number =>
    isCalled(position) + Number(PATCH.test(weight.name));
  return pairs.sort((one, other) => named(other) - named(one)).slice(0, MOST_PAIRS);
}

/** Whether a patch embedding is there by its name, whatever became of the position embedding. */
export function hasPatchEmbedding({ entries }: TensorFile): boolean {
  return entries.some(({ name, shape }) => shape.length === 4 && /patch_?embed|conv_proj/i.test(name));
}

function isCalled({ name }: TensorEntry): number {
  return Number(POSITION.test(name));
}

/** 1 x tokens x d, or tokens x d where it is called so. */
function isPosition({ name, shape }: TensorEntry): boolean {
  const isShaped = shape.length === 3 ? shape[0] === 1 : shape.length === 2 && POSITION.test(name);
  const [tokens = 0] = shape.slice(-2);
  return isShaped && tokens >= FEWEST_TOKENS;
}

function weightOf(
  weight: TensorEntry,
  own: Pick<EmbeddingTensors, 'position' | 'tokens' | 'width'>,
  byName: ReadonlyMap<string, TensorEntry>,
): EmbeddingTensors | undefined {
  const { shape, name } = weight;
  const widthLast = shape[0] !== own.width;
  if ((widthLast && shape.at(-1) !== own.width) || weight === own.position || elementCount(shape) === 0) {
    return undefined;
  }
  const kernel = kernelOf(shape, widthLast);
  if (kernel ? kernel[1] * kernel[2] === 1 : shape.length !== 2 || !PATCH.test(name)) {
    return undefined;
  }
  const bias = byName.get(name.replace(/(weight|kernel)(?=[^.]*$)/, 'bias'));
  return {
    ...own,
    weight,
    bias: bias?.shape.length === 1 && bias.shape[0] === own.width ? bias : undefined,
    numbers: elementCount(shape) / own.width,
    kernel,
    widthLast,
  };
}

function kernelOf(shape: readonly number[], widthLast: boolean): EmbeddingTensors['kernel'] {
  if (shape.length !== 4) {
    return undefined;
  }
  const [first = 0, second = 0, third = 0, fourth = 0] = shape;
  return widthLast ? [third, first, second] : [second, third, fourth];
}
