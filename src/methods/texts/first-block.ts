import type { TensorFile } from '../../formats/tensor-file.js';
import type { Matching } from '../../facts/matching.js';
import type { NormValues } from '../../network/transformers/normalise-rows.js';
import type { Norm, Projection, Transformer } from '../../network/transformers/transformer.js';
import { transposed } from '../../recovery/linear-algebra.js';
import { joined } from '../../recovery/vectors.js';
import type { AttentionValues, LinearValues } from '../../recovery/text/first-attention.js';
import type { FirstInputs } from '../../recovery/text/first-inputs.js';

/** Numbers of a transformer's embedding and first attention, and of their gradients, as recovery takes them. */

export class Tensors {
  private readonly gradientNames: ReadonlyMap<string, string>;
  private readonly values = new Map<string, Float64Array>();
  private readonly shapes: ReadonlyMap<string, readonly number[]>;

  constructor(
    private readonly checkpoint: TensorFile,
    private readonly gradients: TensorFile,
    { pairs }: Matching,
    /** 1, or -1 where the update is the negative of a gradient. */
    private readonly sign: number,
  ) {
    this.gradientNames = new Map(pairs.map(({ parameter, gradient }) => [parameter.name, gradient.name]));
    this.shapes = new Map(checkpoint.entries.map(({ name, shape }) => [name, shape]));
  }

  hasGradient(name: string): boolean {
    return this.gradientNames.has(name);
  }

  value(name: string): Float64Array {
    return this.checkpoint.read(name).data;
  }

  /** The same, kept for the next time. */
  kept(name: string): Float64Array {
    const known = this.values.get(name) ?? this.value(name);
    this.values.set(name, known);
    return known;
  }

  gradient(name: string): Float64Array {
    return this.signed(this.gradients.read(this.gradientNames.get(name) ?? name).data);
  }

  shape(name: string): readonly number[] {
    return this.shapes.get(name) ?? [];
  }

  /** Rows of a matrix of the checkpoint, or of its gradient: (end - start) x width. */
  rows(name: string, start: number, end: number, of: 'value' | 'gradient' = 'value'): Float64Array {
    const width = this.shape(name)[1] ?? 0;
    const range = { start: start * width, end: end * width };
    return of === 'value'
      ? this.checkpoint.read(name, range).data
      : this.signed(this.gradients.read(this.gradientNames.get(name) ?? name, range).data);
  }

  /** One row, or a vector whole. */
  row(name: string, at: number): Float64Array {
    return this.shape(name).length === 1 ? this.value(name) : this.rows(name, at, at + 1);
  }

  private signed(data: Float64Array): Float64Array {
    return this.sign === 1 ? data : data.map((value) => value * this.sign);
  }

  normOf({ kind, weight, bias, epsilon, offset }: Norm): NormValues {
    return {
      kind,
      gain: this.value(weight).map((own) => own + offset),
      bias: bias === null ? null : this.value(bias),
      epsilon,
    };
  }

  /** Weight of a projection, or its gradient: outputs x inputs. */
  matrixOf(projection: Projection, of: 'value' | 'gradient'): Float64Array {
    const { weight, transposed: isTransposed, start, outputs } = projection;
    const [rows = 0, cols = 0] = this.shape(weight);
    const data = of === 'value' ? this.value(weight) : this.gradient(weight);
    const own = isTransposed ? transposed(data, rows, cols) : data;
    const inputs = isTransposed ? rows : cols;
    return own.slice(start * inputs, (start + outputs) * inputs);
  }

  linearOf(projection: Projection): LinearValues {
    const { bias, start, outputs } = projection;
    return {
      weight: this.matrixOf(projection, 'value'),
      bias: bias === null ? null : this.value(bias).slice(start, start + outputs),
      outputs,
    };
  }
}

/** Tokens as the first attention takes them in; undefined where the model has no norm there. */
export function firstInputsOf(transformer: Transformer, tensors: Tensors): FirstInputs | undefined {
  const { width, vocabulary, embedding, normFirst, blocks } = transformer;
  const norm = normFirst ? blocks[0]?.attentionNorm : embedding.norm;
  if (!norm) {
    return undefined;
  }
  const { positions, types, scale, positionOffset } = embedding;
  const type = types === null ? undefined : tensors.rows(types, 0, 1);
  return {
    width,
    vocabulary,
    norm: tensors.normOf(norm),
    rowsOf: (tokens) => scaledRows(tokens, width, scale, (start, end) => tensors.rows(embedding.tokens, start, end)),
    positionRow(position) {
      if (positions === null) {
        return null;
      }
      const row = tensors.rows(positions, position + positionOffset, position + positionOffset + 1);
      return type ? row.map((value, at) => value + type[at]!) : row;
    },
  };
}

export function firstAttentionOf(transformer: Transformer, tensors: Tensors): AttentionValues {
  const { width, heads, keyValueHeads, headWidth, rotary, blocks } = transformer;
  const { query, key, value, queryNorm, keyNorm, attentionScale } = blocks[0]!;
  return {
    width,
    heads,
    keyValueHeads,
    headWidth,
    query: tensors.linearOf(query),
    key: tensors.linearOf(key),
    value: tensors.linearOf(value),
    queryNorm: queryNorm && tensors.normOf(queryNorm),
    keyNorm: keyNorm && tensors.normOf(keyNorm),
    scale: attentionScale,
    rotary,
  };
}

/** Gradients of maps that share their inputs, one below the other: rows x inputs. */
export function stackedGradients(projections: readonly Projection[], tensors: Tensors): Float64Array {
  return joined(
    projections
      .filter(({ weight }) => tensors.hasGradient(weight))
      .map((projection) => tensors.matrixOf(projection, 'gradient')),
  );
}

/** Ranges of tokens that follow each other are read at once. */
function scaledRows(
  tokens: readonly number[],
  width: number,
  scale: number,
  read: (start: number, end: number) => Float64Array,
): Float64Array {
  const out = new Float64Array(tokens.length * width);
  for (let at = 0; at < tokens.length;) {
    let end = at + 1;
    while (end < tokens.length && tokens[end] === tokens[at]! + end - at) {
      end++;
    }
    out.set(read(tokens[at]!, tokens[at]! + end - at), at * width);
    at = end;
  }
  return scale === 1 ? out : out.map((value) => value * scale);
}
