import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Transformer } from '../../network/transformers/transformer.js';
import type { Pause } from '../../recovery/pause.js';
import { byPositionItself, candidatesIn } from '../../recovery/text/first-inputs.js';
import { type InputSpace, inputSpaceOf } from '../../recovery/text/input-space.js';
import type { PrefixNode } from '../../recovery/text/prefix-forest.js';
import { searchPrefixes } from '../../recovery/text/prefix-search.js';
import { noiseOf } from './comparison.js';
import { type Tensors, firstAttentionOf, firstInputsOf, stackedGradients } from './first-block.js';
import { paddingTokens } from './left-padding.js';
import { lookUpsOf } from './looked-up.js';
import { NO_LOSS, NO_TOKEN, hiddenBy } from './refusals.js';
import type { Misfit } from './simulated.js';
import { type FoundText, TargetSearch, readTexts } from './target-search.js';

/** Texts of a causal language model's batch. */

export interface CausalTexts {
  readonly texts: readonly FoundText[];
  readonly inputs: InputSpace;
  readonly outputs: InputSpace;
  readonly candidates: { readonly count: number; readonly farthest: number; readonly nextNearest: number };
  readonly nodes: readonly PrefixNode[];
  readonly nextNearest: number;
  readonly misfit: Misfit | undefined;
}

const MOST_PREFIXES = 512;
const LONGEST = 4096;

/** @returns a sentence where nothing was found, or not all */
export async function findCausalTexts(
  transformer: Transformer,
  tensors: Tensors,
  error: number,
  product: ProductKernel,
  progress: (message: string, share: number) => void,
  pause: Pause,
): Promise<CausalTexts | string> {
  const [first] = transformer.blocks;
  const given = firstInputsOf(transformer, tensors);
  if (!first || !given) {
    return 'The model has no block with a norm before its attention.';
  }
  progress('Finding the space of the first attention', 0.05);
  const stacked = stackedGradients([first.query, first.key, first.value], tensors);
  if (stacked.every((value) => value === 0)) {
    return NO_LOSS;
  }
  const inputs = await inputSpaceOf(stacked, transformer.width, error, product, pause);
  if (!inputs) {
    return hiddenBy('attention', transformer.width);
  }
  const attention = firstAttentionOf(transformer, tensors);
  const outputWidth = attention.heads * attention.headWidth;
  const outputs = await inputSpaceOf(stackedGradients([first.output], tensors), outputWidth, error, product, pause);
  if (!outputs) {
    return hiddenBy("attention's output", outputWidth);
  }
  progress('Trying every token', 0.15);
  const { tokens, positions } = lookUpsOf(transformer, tensors);
  const candidates = await candidatesIn(given, inputs, tokens, positions, product, pause);
  if (candidates.count === 0) {
    return NO_TOKEN;
  }
  progress('Joining tokens to texts', 0.4);
  const { nodes, nextNearest, crowded } = await searchPrefixes(
    given,
    attention,
    outputs,
    { byPosition: byPositionItself(candidates.byPosition, positions) },
    { most: MOST_PREFIXES, total: transformer.width, length: LONGEST, window: transformer.window },
    product,
    pause,
  );
  if (nodes.length === 0 || crowded) {
    return crowded
      ? 'More beginnings of texts fit than a batch can hold, as with much noise: the order of tokens is not told.'
      : 'Tokens were found, and no text that begins with them fits the attention: only last tokens have a gradient there (as in a classifier of one block), dropout was on, or noise was added.';
  }
  const found = { inputs, outputs, candidates, nextNearest };
  const { head } = transformer;
  if (head?.kind !== 'language-model' || !tensors.hasGradient(head.weight)) {
    return { ...found, nodes, texts: readTexts(nodes, head?.kind === 'language-model'), misfit: undefined };
  }
  const noise = noiseOf(transformer, inputs, outputs);
  const confirming = new TargetSearch(transformer, tensors, head, product, progress, pause, noise);
  const read = await confirming.run(nodes, paddingTokens(transformer, tokens, candidates));
  return read.texts.length > 0
    ? { ...found, ...read }
    : "Beginnings of texts were found, and the head's gradient tells no token after any of them: noise or dropout hides them.";
}
