import type { Adapters } from '../network/transformers/adapters.js';
import type { Refusal } from '../network/transformers/read-transformer.js';
import type { NamedShape } from '../network/transformers/tensor-names.js';
import type { Transformer } from '../network/transformers/transformer.js';
import { ADAPTERS } from './adapters.js';
import type { Fact } from './facts.js';
import { floatingOf, transformerBeside } from './transformer-beside.js';
import { MATCHING } from './update.js';

/**
 * The transformer that the checkpoint is of, as {@link transformerBeside} finds it. Names are those without adapters.
 *
 * @throws UnusableInputError when the gradient does not match the checkpoint
 */
export const TRANSFORMER: Fact<Transformer | Refusal | undefined> = {
  id: 'transformer',
  async compute(facts) {
    const { checkpoint, request } = facts.given;
    const { pairs } = await facts.get(MATCHING);
    const adapters = await facts.get(ADAPTERS);
    if (adapters && 'refused' in adapters) {
      return adapters;
    }
    const entries = withoutAdapters(floatingOf(checkpoint.entries), adapters);
    return transformerBeside(request, entries, new Set(pairs.map(({ parameter }) => parameter.name)));
  },
  describe: (value) =>
    value &&
    ('refused' in value
      ? value
      : { family: value.family, source: value.source, blocks: value.blocks.length, head: value.head?.kind ?? null }),
};

function withoutAdapters(entries: readonly NamedShape[], adapters: Adapters | undefined): readonly NamedShape[] {
  if (!adapters) {
    return entries;
  }
  const shapes = new Map(entries.map(({ name, shape }) => [name, shape]));
  return [...adapters.stored].map(([name, stored]) => ({ name, shape: shapes.get(stored) ?? [] }));
}
