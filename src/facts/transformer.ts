import { isFloating } from '../formats/tensor-file.js';
import type { Adapters } from '../network/transformers/adapters.js';
import { type Refusal, readTransformer } from '../network/transformers/read-transformer.js';
import type { NamedShape } from '../network/transformers/tensor-names.js';
import type { Transformer } from '../network/transformers/transformer.js';
import { ADAPTERS } from './adapters.js';
import { CONFIG_FILE, readConfigJson } from './config-json.js';
import type { Fact } from './facts.js';
import { filesBeside } from './inputs.js';
import { MATCHING } from './update.js';

/**
 * The transformer that the checkpoint is of, by `config.json` beside the gradient or the checkpoint, or by names and shapes
 * alone; a refusal where it is one that is not read, undefined where it is none. Names are those without adapters.
 *
 * @throws UnusableInputError when the gradient does not match the checkpoint
 */
export const TRANSFORMER: Fact<Transformer | Refusal | undefined> = {
  id: 'transformer',
  async compute(facts) {
    const { checkpoint, request } = facts.given;
    const { pairs } = await facts.get(MATCHING);
    const trained = new Set(pairs.map(({ parameter }) => parameter.name));
    const adapters = await facts.get(ADAPTERS);
    if (adapters && 'refused' in adapters) {
      return adapters;
    }
    const entries = withoutAdapters(
      checkpoint.entries.filter(({ dtype }) => isFloating(dtype)),
      adapters,
    );
    const refusals: string[] = [];
    const passedOver: string[] = [];
    for (const path of filesBeside(request, [CONFIG_FILE])) {
      const config = readConfigJson(path);
      if (typeof config === 'string') {
        passedOver.push(`${path}: passed over, ${config}.`);
        continue;
      }
      const found = readTransformer(entries, config, path, trained);
      if (found && !('refused' in found)) {
        return found;
      }
      refusals.push(...(found ? [found.refused] : []));
    }
    const [refused] = refusals;
    if (refused !== undefined) {
      return { refused };
    }
    const byNames = readTransformer(entries, undefined, '', trained);
    return byNames && 'refused' in byNames ? { refused: [...passedOver, byNames.refused].join(' ') } : byNames;
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
