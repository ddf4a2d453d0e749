import { type TensorEntry, isFloating } from '../formats/tensor-file.js';
import { type Refusal, readTransformer } from '../network/transformers/read-transformer.js';
import type { NamedShape } from '../network/transformers/tensor-names.js';
import type { Transformer } from '../network/transformers/transformer.js';
import { CONFIG_FILE, readConfigJson } from './config-json.js';
import { type AuditPaths, filesBeside } from './inputs.js';

/**
 * The transformer that tensors are of, by `config.json` beside the files, or by names and shapes alone; a refusal where it
 * is one that is not read, undefined where it is none. No numbers are read.
 *
 * @param entries names and shapes of tensors of real numbers, see {@link floatingOf}
 * @param trained names of tensors that have a gradient, where that is known
 */
export function transformerBeside(
  paths: AuditPaths,
  entries: readonly NamedShape[],
  trained?: ReadonlySet<string>,
): Transformer | Refusal | undefined {
  const refusals: string[] = [];
  const passedOver: string[] = [];
  for (const path of filesBeside(paths, [CONFIG_FILE])) {
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
}

/** Without masks, counters and the like, which are no weights. */
export function floatingOf(entries: readonly TensorEntry[]): readonly TensorEntry[] {
  return entries.filter(({ dtype }) => isFloating(dtype));
}
