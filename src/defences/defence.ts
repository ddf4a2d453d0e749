/** What somebody could do to an update before it leaves the machine, at levels from hardly to very much. */
export interface Defence {
  readonly id: string;
  readonly title: string;
  /** One sentence: what it does, and what its levels are. */
  readonly explanation: string;
  /** Of a level's value; empty for levels that are names. */
  readonly unit: string;
  readonly scale: 'log' | 'linear' | 'names';
  /** Whether a later level takes away what an earlier one does and more, for one and the same draw. */
  readonly isMonotone: boolean;
  readonly isRandom: boolean;
  /** From the weakest on; empty where it has nothing to act on. */
  levels(update: UpdateFigures): readonly Level[];
  /** Names of tensors that do not leave at all; none when absent. */
  withheld?(level: Level, update: UpdateFigures): readonly string[];
  /** One tensor as it would leave. The numbers given are not changed. */
  apply(tensor: SentTensor, level: Level, update: UpdateFigures): Float64Array;
}

export interface Level {
  readonly value: number;
  readonly name: string;
  /** The same level in other words; null where there are none. */
  readonly also: string | null;
}

/** What a level is relative to. */
export interface UpdateFigures {
  /** Numbers of the whole update, and their Euclidean norm. */
  readonly count: number;
  readonly norm: number;
  /** Names of tensors by what they are; each may be empty. */
  readonly parts: UpdateParts;
}

export interface UpdateParts {
  readonly head: readonly string[];
  readonly embeddings: readonly string[];
  /** The first layer that is no embedding: of images, their first convolution. */
  readonly first: readonly string[];
}

export interface SentTensor {
  readonly name: string;
  readonly data: Float64Array;
  /** Which draw of what is random: the same one at every level. */
  readonly draw: number;
}
