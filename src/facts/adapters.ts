import type { TensorFile } from '../formats/tensor-file.js';
import { type Adapters, readAdapters } from '../network/transformers/adapters.js';
import { TransformerProblem } from '../network/transformers/problem.js';
import type { Refusal } from '../network/transformers/read-transformer.js';
import { readConfigJson } from './config-json.js';
import type { Fact } from './facts.js';
import { filesBeside } from './inputs.js';
import { floatingOf } from './transformer-beside.js';

export const ADAPTER_CONFIG = 'adapter_config.json';

/**
 * LoRA's adapters in the checkpoint, with the scale that `adapter_config.json` beside the gradient or the checkpoint gives
 * them; a refusal where they are not read, undefined where there are none.
 */
export const ADAPTERS: Fact<Adapters | Refusal | undefined> = {
  id: 'adapters',
  compute({ given: { checkpoint, request } }) {
    const entries = floatingOf(checkpoint.entries);
    const [path] = filesBeside(request, [ADAPTER_CONFIG]);
    try {
      const config = path === undefined ? undefined : readConfigJson(path);
      const adapters = readAdapters(entries, typeof config === 'string' ? undefined : config, path ?? '');
      return adapters && scaled(adapters, checkpoint, typeof config === 'string' ? `${path ?? ''}: ${config}.` : '');
    } catch (error) {
      if (error instanceof TransformerProblem) {
        return { refused: error.message };
      }
      throw error;
    }
  },
  describe: (value) => value && ('refused' in value ? value : { layers: value.byWeight.size }),
};

/** Without a configuration: an adapter that is zero is so at any scale. @throws TransformerProblem for another */
function scaled(adapters: Adapters, checkpoint: TensorFile, why: string): Adapters {
  const byWeight = new Map(
    [...adapters.byWeight].map(([weight, adapter]) => {
      if (adapter.scale === null && checkpoint.read(adapter.b).data.some((value) => value !== 0)) {
        throw new TransformerProblem(
          `The adapter of "${weight}" is trained, and nothing tells its scale: put ${ADAPTER_CONFIG} beside the checkpoint. ${why}`.trim(),
        );
      }
      return [weight, { ...adapter, scale: adapter.scale ?? 1 }] as const;
    }),
  );
  return { ...adapters, byWeight };
}
