import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Transformer } from '../../network/transformers/transformer.js';
import type { Pause } from '../../recovery/pause.js';
import { classifierLabels } from './classifier-labels.js';
import type { Difference } from './comparison.js';
import type { Tensors } from './first-block.js';
import type { TokenTree } from './forward.js';
import { TargetSearch, isConfirmed } from './target-search.js';

/** Labels of a batch whose sequences are all known, and the gradient that they have together. */

export interface EncoderLabels {
  /** By sequence: the class that it was trained on, undefined where none shows; empty where the model does not classify sequences. */
  readonly classes: readonly (number | undefined)[];
  /** By sequence and token: its class, or the token that was asked for; undefined where none shows. Empty of sequences' classifiers. */
  readonly ofTokens: readonly (readonly (number | undefined)[])[];
  readonly misfit: Difference;
  /** Whether the gradient differs by clearly less than one wrong label would leave. */
  readonly areClear: boolean;
}

/**
 * @param sequences tokens from position 0
 * @returns undefined where the model has no head that is read, or the gradient of its head is not given
 */
export async function encoderLabels(
  transformer: Transformer,
  tensors: Tensors,
  sequences: readonly (readonly number[])[],
  product: ProductKernel,
  pause: Pause,
): Promise<EncoderLabels | undefined> {
  const { head } = transformer;
  const tree = treeOf(sequences);
  if (head?.kind === 'language-model') {
    if (!tensors.hasGradient(head.weight)) {
      return undefined;
    }
    const search = new TargetSearch(transformer, tensors, head, product, () => undefined, pause);
    const { targets, misfit } = await search.ofStates(tree);
    const byState = new Map(targets.map(({ state, token }) => [state, token]));
    const ofTokens = bySequence(
      sequences,
      Array.from(tree.tokens, (_, at) => byState.get(at)),
    );
    return { classes: [], ofTokens, misfit, areClear: isConfirmed(misfit) };
  }
  if (
    !head ||
    !tensors.hasGradient(head.output.weight) ||
    (head.kind === 'sequence-classifier' && head.reads !== 'first')
  ) {
    return undefined;
  }
  const isOfSequences = head.kind === 'sequence-classifier';
  const firsts = isOfSequences ? firstsOf(sequences) : null;
  const { labels, misfit } = await classifierLabels(transformer, tensors, head.output, tree, firsts, product);
  return {
    classes: isOfSequences ? labels.map(({ nearest }) => (nearest >= 0 ? nearest : undefined)) : [],
    ofTokens: isOfSequences
      ? []
      : bySequence(
          sequences,
          labels.map(({ nearest, isClear }) => (isClear && nearest >= 0 ? nearest : undefined)),
        ),
    misfit,
    areClear: true,
  };
}

function bySequence<T>(sequences: readonly (readonly number[])[], all: readonly T[]): T[][] {
  let at = 0;
  return sequences.map(({ length }) => all.slice(at, (at += length)));
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
