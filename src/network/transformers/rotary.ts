import type { Config } from './config.js';
import { TransformerProblem } from './problem.js';

/** Angles of rotary position embeddings (Su et al., 2021), as Hugging Face's configurations scale them. */

const DEFAULT_BASE = 10_000;
const LARGEST = 1e12;

/**
 * @param headWidth even
 * @returns angle per position of each rotated pair
 * @throws TransformerProblem when the configuration asks for a scaling that is not read, or holds no number where one belongs
 */
export function rotaryFrequencies(config: Config, headWidth: number): Float64Array {
  // `rope_parameters` since version 5 of transformers, `rope_theta` beside `rope_scaling` before.
  const own = config.object(['rope_parameters', 'rope_scaling']);
  const base = own?.real('rope_theta', 1, LARGEST) ?? config.real('rope_theta', 1, LARGEST) ?? DEFAULT_BASE;
  for (const place of [config, own]) {
    const share = place?.real('partial_rotary_factor', 0, 1);
    if (share !== undefined && share !== 1) {
      throw new TransformerProblem(`${config.source}: only a part of each head is rotated, which is not read.`);
    }
  }
  const plain = Float64Array.from({ length: headWidth / 2 }, (_, pair) => base ** ((-2 * pair) / headWidth));
  const type = own?.text(['rope_type', 'type']) ?? 'default';
  if (!own || type === 'default') {
    return plain;
  }
  switch (type) {
    case 'linear': {
      const factor = needed(own, 'factor');
      return plain.map((frequency) => frequency / factor);
    }
    case 'llama3':
      return plain.map(llama3Scaling(own, config));
    default:
      throw new TransformerProblem(
        `${config.source}: positions are scaled as ${JSON.stringify(type.slice(0, 40))}; only default, linear and llama3 are read.`,
      );
  }
}

/** Long waves are slowed down by the factor, short ones are not, those between in part. */
function llama3Scaling(own: Config, config: Config): (frequency: number) => number {
  const [factor, low, high] = [needed(own, 'factor'), needed(own, 'low_freq_factor'), needed(own, 'high_freq_factor')];
  const length =
    own.real('original_max_position_embeddings', 1, LARGEST) ?? config.real('max_position_embeddings', 1, LARGEST);
  if (length === undefined || high <= low) {
    throw new TransformerProblem(`${config.source}: the scaling of positions lacks its length, or its bounds cross.`);
  }
  return (frequency) => {
    const waves = (length * frequency) / (2 * Math.PI);
    const kept = Math.min(1, Math.max(0, (waves - low) / (high - low)));
    return ((1 - kept) * frequency) / factor + kept * frequency;
  };
}

/** @throws TransformerProblem without such a number */
function needed(config: Config, name: string): number {
  const value = config.real(name, 1e-6, LARGEST);
  if (value === undefined) {
    throw new TransformerProblem(`${config.source}: the scaling of positions has no "${name}".`);
  }
  return value;
}
