import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Projection, Transformer } from '../../network/transformers/transformer.js';
import { softmax } from '../../recovery/activation.js';
import { transposed } from '../../recovery/linear-algebra.js';
import { linear } from '../../recovery/text/first-attention.js';
import { pseudoInverse } from '../../recovery/text/next-tokens.js';
import { joined } from '../../recovery/vectors.js';
import { Comparison, type Difference } from './comparison.js';
import type { Tensors } from './first-block.js';
import { Forward, type TokenTree } from './forward.js';

/** Labels of a batch whose sequences are all known, and the gradient that they have together. */

export interface SequenceLabels {
  readonly labels: readonly number[];
  /** Embeddings behind a norm are left out. */
  readonly misfit: Difference;
}

/**
 * G = sum_b w (p_b - y_b) h_b^T, with hidden states h_b and probabilities p_b that follow from the sequences.
 *
 * @param sequences tokens from position 0
 * @returns undefined where the model classifies no sequences, or the gradient of its head is not given
 */
export async function sequenceLabels(
  transformer: Transformer,
  tensors: Tensors,
  sequences: readonly (readonly number[])[],
  product: ProductKernel,
): Promise<SequenceLabels | undefined> {
  const { head } = transformer;
  if (head?.kind !== 'sequence-classifier' || head.reads !== 'first' || !tensors.hasGradient(head.output.weight)) {
    return undefined;
  }
  const forward = new Forward(transformer, tensors, treeOf(sequences), firstsOf(sequences), product);
  const hidden = await forward.states();
  const count = sequences.length;
  const { outputs } = head.output;
  const logits = await linear(tensors.linearOf(head.output), hidden, product);
  const probabilities = joined(sequences.map((_, row) => softmax(logits.subarray(row * outputs, (row + 1) * outputs))));
  const { width } = transformer;
  const inverse = await pseudoInverse(hidden, width, product);
  const slopes = await product(tensors.matrixOf(head.output, 'gradient'), inverse, outputs, count, width);
  const labels: number[] = [];
  const weight = 1 / count;
  const seedLogits = new Float64Array(count * outputs);
  for (let row = 0; row < count; row++) {
    const own = Float64Array.from(
      { length: outputs },
      (_, label) => slopes[label * count + row]! - weight * probabilities[row * outputs + label]!,
    );
    labels.push(own.indexOf(own.reduce((smallest, value) => Math.min(smallest, value))));
    for (let label = 0; label < outputs; label++) {
      seedLogits[row * outputs + label] =
        weight * (probabilities[row * outputs + label]! - Number(label === labels[row]));
    }
  }
  return { labels, misfit: await misfitOf(tensors, forward, head.output, hidden, seedLogits, count, product) };
}

function treeOf(sequences: readonly (readonly number[])[]): TokenTree {
  const flat = sequences.flatMap((tokens, sequence) =>
    tokens.map((token, position) => ({ token, position, sequence })),
  );
  return {
    tokens: Int32Array.from(flat, ({ token }) => token),
    positions: Int32Array.from(flat, ({ position }) => position),
    parents: new Int32Array(flat.length).fill(-1),
    sequences: Int32Array.from(flat, ({ sequence }) => sequence),
  };
}

function firstsOf(sequences: readonly (readonly number[])[]): Int32Array {
  let at = 0;
  return Int32Array.from(sequences, ({ length }) => (at += length) - length);
}

async function misfitOf(
  tensors: Tensors,
  forward: Forward,
  { weight, bias }: Projection,
  hidden: Float64Array,
  seed: Float64Array,
  count: number,
  product: ProductKernel,
): Promise<Difference> {
  const [outputs, width] = [seed.length / count, hidden.length / count];
  const values = tensors.value(weight);
  const back = await product(seed, transposed(values, outputs, width), count, width, outputs);
  const { parameters } = await forward.gradients(back);
  const comparison = new Comparison();
  const slopes = transposed(seed, count, outputs);
  comparison.add(
    weight,
    await product(slopes, transposed(hidden, count, width), outputs, width, count),
    tensors.gradient(weight),
  );
  if (bias !== null && tensors.hasGradient(bias)) {
    const sums = Float64Array.from({ length: outputs }, (_, row) =>
      slopes.subarray(row * count, (row + 1) * count).reduce((sum, value) => sum + value, 0),
    );
    comparison.add(bias, sums, tensors.gradient(bias));
  }
  for (const [name, data] of parameters) {
    comparison.add(name, data, tensors.gradient(name));
  }
  return comparison.result();
}
