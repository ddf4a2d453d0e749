import type { Refusal } from '../network/transformers/read-transformer.js';
import type { Transformer } from '../network/transformers/transformer.js';
import type { Fact } from './facts.js';
import { transformerBeside } from './transformer-beside.js';
import { MATCHING } from './update.js';

/**
 * The transformer that the checkpoint is of, as {@link transformerBeside} finds it.
 *
 * @throws UnusableInputError when the gradient does not match the checkpoint
 */
export const TRANSFORMER: Fact<Transformer | Refusal | undefined> = {
  id: 'transformer',
  async compute(facts) {
    const { checkpoint, request } = facts.given;
    const { pairs } = await facts.get(MATCHING);
    return transformerBeside(request, checkpoint.entries, new Set(pairs.map(({ parameter }) => parameter.name)));
  },
  describe: (value) =>
    value &&
    ('refused' in value
      ? value
      : { family: value.family, source: value.source, blocks: value.blocks.length, head: value.head?.kind ?? null }),
};
