import { ADAPTERS } from '../../facts/adapters.js';
import { TRANSFORMER } from '../../facts/transformer.js';
import { MATCHING, UPDATE } from '../../facts/update.js';
import { roundoffOf } from '../../facts/values.js';
import { findVocabulary } from '../../facts/vocabulary.js';
import { type Method, READABLE } from '../method.js';
import { pausingProduct } from '../pausing-product.js';
import { AdaptedTensors } from './adapted-tensors.js';
import { findAdapterTexts } from './adapter-texts.js';
import { findCausalTexts } from './causal-texts.js';
import { Tensors } from './first-block.js';
import { MOST_PAIRS, findEncoderTexts } from './encoder-texts.js';
import { tellAdapter } from './tell-adapter.js';
import { tellCausal } from './tell-causal.js';
import { endOf, tellEncoder } from './tell-encoder.js';
import { type TextsToTell, textsLeak } from './texts-leak.js';

/** Texts that a language model was trained on, word for word. */
export const texts: Method = {
  id: 'texts',
  title: 'Texts of a transformer',
  assumes:
    'the transformer is the one that its names, shapes and config.json say, that it ran without dropout, and that the texts hold fewer tokens than the model has dimensions.',
  cites: 'after DAGER, Petrov et al., NeurIPS 2024, arXiv 2405.15586',
  cost: 'min',
  kinds: READABLE,
  async applies(facts) {
    const transformer = await facts.get(TRANSFORMER);
    if (transformer === undefined) {
      return null;
    }
    if ('refused' in transformer) {
      return transformer.refused;
    }
    if ((await facts.get(ADAPTERS)) !== undefined) {
      return transformer.causal ? true : 'Adapters are read of causal language models only.';
    }
    const { pairs } = await facts.get(MATCHING);
    const [first] = transformer.blocks;
    const trained = new Set(pairs.map(({ parameter }) => parameter.name));
    return first &&
      [first.query, first.key, first.value].some(({ weight }) => trained.has(weight)) &&
      trained.has(first.output.weight)
      ? true
      : 'Texts are read from two gradients of the first attention: of its queries, keys or values, and of its output projection. One of them is not there.';
  },
  async run(facts, context) {
    const { checkpoint, gradients, request } = facts.given;
    const transformer = await facts.get(TRANSFORMER);
    if (transformer === undefined || 'refused' in transformer) {
      return { outcome: 'not-applicable', detail: 'The checkpoint is of no transformer.', leaks: [] };
    }
    const matching = await facts.get(MATCHING);
    const { sign } = await facts.get(UPDATE);
    const adapters = await facts.get(ADAPTERS);
    const own = adapters && !('refused' in adapters) ? adapters : undefined;
    const output = transformer.blocks[0]!.output.weight;
    const pair = own ? matching.pairs[0] : matching.pairs.find(({ parameter }) => parameter.name === output);
    const given = [
      roundoffOf(pair?.gradient.dtype ?? 'float32'),
      await pausingProduct(context),
      (message: string, share: number): void => {
        context.progress(message, share);
      },
      () => context.pause(),
    ] as const;
    const find = transformer.causal ? causal : encoder;
    const found = own
      ? await adapted(
          transformer,
          new AdaptedTensors(checkpoint, gradients, matching, sign, own, transformer),
          ...given,
        )
      : await find(transformer, new Tensors(checkpoint, gradients, matching, sign), ...given);
    if (typeof found === 'string') {
      return { outcome: 'nothing', detail: found, leaks: [] };
    }
    return {
      outcome: 'found',
      detail: own
        ? "Read from the row spaces of the adapters' gradients, which hold what entered their layers."
        : `Read from the row space of the gradient of \`${output}\`, which holds what the first attention computes for texts of the batch.`,
      leaks: [textsLeak(transformer, found, findVocabulary(request, transformer.vocabulary))],
    };
  },
};

/** Texts whose gradient differs by more are mostly wrong, and are not shown. */
const MOST_MISFIT = 0.5;

type Find = (...given: Parameters<typeof findCausalTexts>) => Promise<TextsToTell | string>;

const causal: Find = async (transformer, ...given) => {
  const found = await findCausalTexts(transformer, ...given);
  if (typeof found === 'string') {
    return found;
  }
  return found.misfit && found.misfit.error > MOST_MISFIT
    ? `Beginnings of texts fit the first attention, and the gradient of what they make differs from the captured one by ${found.misfit.error.toExponential(1)}: padding that is not masked, or that stands before the texts and attends to what it is masked from (as in "eager" attention), a token repeated many times in a row, or another checkpoint's later blocks.`
    : tellCausal(transformer, found);
};

const encoder: Find = async (transformer, ...given) => {
  const found = await findEncoderTexts(transformer, ...given);
  if (typeof found === 'string') {
    return found;
  }
  if (found.texts.length > 0) {
    return tellEncoder(transformer, found);
  }
  return found.possible.length + found.unplaced.length > MOST_PAIRS
    ? `${found.candidates.count} pairs of token and position fit the first attention, more than texts are put together from: noise, or a head whose gradient is one with that of the embedding, hides which of them are of the batch.`
    : `Single tokens fit the first attention, and no text was put together from them.${endOf(found)}`;
};

const adapted = async (...given: Parameters<typeof findAdapterTexts>): Promise<TextsToTell | string> => {
  const found = await findAdapterTexts(...given);
  return typeof found === 'string' ? found : tellAdapter(given[0], found);
};
