/** A transformer as a state dict holds it, whatever its family: which tensor is which, and the numbers that no tensor holds. */

export type TransformerFamily =
  'gpt2' | 'bert' | 'roberta' | 'distilbert' | 'llama' | 'mistral' | 'qwen2' | 'qwen3' | 'gemma';

export interface Transformer {
  readonly family: TransformerFamily;
  /** For people: the file that says it, or `names and shapes`. */
  readonly source: string;
  /** Each position sees itself and what is before it, not what comes after. */
  readonly causal: boolean;
  /** Norms stand before attention and MLP, not behind their sums. */
  readonly normFirst: boolean;
  /** Numbers of a hidden state. */
  readonly width: number;
  readonly vocabulary: number;
  readonly heads: number;
  /** Fewer than `heads` where several share keys and values. */
  readonly keyValueHeads: number;
  readonly headWidth: number;
  readonly embedding: Embedding;
  /** Tokens that batches are padded with as a rule, the one that the configuration names first. */
  readonly paddings: readonly number[];
  /** Angles per position of the rotated pairs (headWidth / 2), null without rotation. */
  readonly rotary: { readonly frequencies: Float64Array; readonly scale: number } | null;
  /** A position sees as many as this before itself, and itself; null without bound. */
  readonly window: number | null;
  readonly activation: TransformerActivation;
  readonly blocks: readonly Block[];
  /** Before the head; null where there is none. */
  readonly finalNorm: Norm | null;
  readonly head: Head | null;
  /** Probabilities that the configuration gives for training. */
  readonly dropout: { readonly embedding: number; readonly attention: number; readonly hidden: number };
}

/** What a family's reader tells. */
export type TransformerParts = Omit<Transformer, 'source' | 'paddings'>;

export type TransformerActivation = 'gelu' | 'gelu-tanh' | 'relu' | 'silu' | 'tanh';

/** x_0 = norm(scale * tokens[t] + positions[p + offset] + types[0]) */
export interface Embedding {
  /** Name of the weight, vocabulary x width. */
  readonly tokens: string;
  readonly positions: string | null;
  readonly positionOffset: number;
  /** Positions that the weight has rows for, behind the offset; null without such a weight. */
  readonly positionCount: number | null;
  readonly types: string | null;
  readonly scale: number;
  readonly norm: Norm | null;
}

export interface Norm {
  readonly kind: 'layer' | 'rms';
  readonly weight: string;
  readonly bias: string | null;
  readonly epsilon: number;
  /** Added to the weight: 1 for Gemma. */
  readonly offset: 0 | 1;
}

/** A linear map; some outputs of a tensor where several maps share one. */
export interface Projection {
  readonly weight: string;
  readonly bias: string | null;
  /** True where the weight is stored inputs x outputs. */
  readonly transposed: boolean;
  /** First output of the tensor, and how many. */
  readonly start: number;
  readonly outputs: number;
}

export interface Block {
  readonly query: Projection;
  readonly key: Projection;
  readonly value: Projection;
  readonly output: Projection;
  /** Over the numbers of each head, before rotation. */
  readonly queryNorm: Norm | null;
  readonly keyNorm: Norm | null;
  /** Factor of the products of queries and keys. */
  readonly attentionScale: number;
  readonly attentionNorm: Norm;
  /** down(activation(gate x) * up x), or down(activation(up x)) without a gate. */
  readonly gate: Projection | null;
  readonly up: Projection;
  readonly down: Projection;
  readonly mlpNorm: Norm;
}

export type Head =
  | {
      readonly kind: 'language-model';
      /** vocabulary x width; that of the embedding where they are tied. */
      readonly weight: string;
      readonly bias: string | null;
      readonly tied: boolean;
      /** What masked language models put before it. */
      readonly transform: {
        readonly dense: Projection;
        readonly norm: Norm;
        readonly activation: TransformerActivation;
      } | null;
    }
  | {
      readonly kind: 'sequence-classifier';
      /** Whose hidden state is classified. */
      readonly reads: 'first' | 'last';
      /** Layers before the last one, each followed by its activation. */
      readonly hidden: readonly { readonly dense: Projection; readonly activation: TransformerActivation }[];
      readonly output: Projection;
    }
  | { readonly kind: 'token-classifier'; readonly output: Projection };
