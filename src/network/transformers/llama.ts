import { readHead } from './heads.js';
import {
  type Place,
  MOST_WIDTH,
  activationOf,
  countLayers,
  dropoutOf,
  epsilonOf,
  linear,
  refuseFields,
  requireDivides,
  statedHeads,
  tokenTable,
} from './place.js';
import type { Config } from './config.js';
import { TransformerProblem } from './problem.js';
import { rotaryFrequencies } from './rotary.js';
import type { Block, Norm, TransformerFamily, TransformerParts } from './transformer.js';

/** Llama, Mistral, Qwen and Gemma: norms first, rotated positions, a gated MLP, keys and values that heads may share. */

const MOST_HEAD_WIDTH = 2 ** 12;
const MISTRAL_WINDOW = 4096;

/** @throws TransformerProblem when tensors or configuration do not fit, or without a configuration */
export function readLlama(place: Place): TransformerParts {
  const { family, config, names, prefix } = place;
  if (!config) {
    throw new TransformerProblem(
      'Names and shapes are those of a transformer with rotated positions, and do not tell the width of its heads nor its rotation: put its config.json beside the checkpoint.',
    );
  }
  refuseFields(config, [['use_bidirectional_attention', 'attention to what comes after']]);
  const { tokens, vocabulary, width } = tokenTable(place, 'embed_tokens.weight', ['hidden_size']);
  const layers = countLayers(place, ['num_hidden_layers'], 'layers.', '.self_attn.q_proj.weight');
  const { heads, headWidth, keyValueHeads } = headsOf(place, config, width);
  const epsilon = epsilonOf(config, 'rms_norm_eps', 1e-6);
  const [found = 0] = names.shapeOf(`${prefix}layers.0.mlp.up_proj.weight`, 2);
  const inner = config.whole(['intermediate_size'], MOST_WIDTH) ?? found;
  const norm = (name: string, size: number): Norm => ({
    kind: 'rms',
    weight: names.need(`${prefix}${name}.weight`, [size]),
    bias: null,
    epsilon,
    offset: family === 'gemma' ? 1 : 0,
  });
  const block = (layer: number): Block => {
    const stem = `layers.${layer}`;
    const own = (name: string, inputs: number, outputs: number) =>
      linear(names, `${prefix}${stem}.${name}`, inputs, outputs, 'optional');
    return {
      query: own('self_attn.q_proj', width, heads * headWidth),
      key: own('self_attn.k_proj', width, keyValueHeads * headWidth),
      value: own('self_attn.v_proj', width, keyValueHeads * headWidth),
      output: own('self_attn.o_proj', heads * headWidth, width),
      queryNorm: family === 'qwen3' ? norm(`${stem}.self_attn.q_norm`, headWidth) : null,
      keyNorm: family === 'qwen3' ? norm(`${stem}.self_attn.k_norm`, headWidth) : null,
      attentionScale: 1 / Math.sqrt(headWidth),
      attentionNorm: norm(`${stem}.input_layernorm`, width),
      gate: own('mlp.gate_proj', width, inner),
      up: own('mlp.up_proj', width, inner),
      down: own('mlp.down_proj', inner, width),
      mlpNorm: norm(`${stem}.post_attention_layernorm`, width),
    };
  };
  return {
    family,
    causal: true,
    normFirst: true,
    width,
    vocabulary,
    heads,
    keyValueHeads,
    headWidth,
    embedding: {
      tokens,
      positions: null,
      positionOffset: 0,
      positionCount: null,
      types: null,
      scale: family === 'gemma' ? Math.sqrt(width) : 1,
      norm: null,
    },
    rotary: { frequencies: rotaryFrequencies(config, headWidth), scale: 1 },
    window: windowOf(config, family, layers),
    activation: gateActivation(config, family),
    blocks: Array.from({ length: layers }, (_, layer) => block(layer)),
    finalNorm: norm('norm', width),
    head: readHead(place, { tokens, vocabulary, width, tiedByDefault: family === 'gemma' }),
    dropout: { embedding: 0, attention: dropoutOf(config, 'attention_dropout', 0), hidden: 0 },
  };
}

/** What `head_dim` is where the configuration leaves it out: null, where it is the width of a head's share. */
const HEAD_WIDTHS: Partial<Record<TransformerFamily, number>> = { qwen3: 128, gemma: 256 };

function headsOf({ family, names, prefix }: Place, config: Config, width: number) {
  const heads = statedHeads(config, ['num_attention_heads']);
  const stated = config.whole(['head_dim'], MOST_HEAD_WIDTH, 2) ?? HEAD_WIDTHS[family];
  if (stated === undefined) {
    requireDivides(heads, width, '"num_attention_heads"', config);
  }
  const headWidth = stated ?? width / heads;
  if (headWidth % 2 !== 0) {
    throw new TransformerProblem(
      `${config.source}: heads are ${headWidth} wide, and only an even width can be rotated.`,
    );
  }
  const [rows = 0] = names.shapeOf(`${prefix}layers.0.self_attn.k_proj.weight`, 2);
  const keyValueHeads = config.whole(['num_key_value_heads'], heads) ?? Math.max(1, Math.floor(rows / headWidth));
  requireDivides(keyValueHeads, heads, '"num_key_value_heads"', config);
  return { heads, headWidth, keyValueHeads };
}

/** Positions before itself that each one sees. @throws TransformerProblem when layers differ in it */
function windowOf(config: Config, family: TransformerFamily, layers: number): number | null {
  const size = config.whole(['sliding_window'], 2 ** 30);
  if (family === 'mistral') {
    // A window of null is none; one that is left out is the class's own.
    return size === undefined ? (config.mentions('sliding_window') ? null : MISTRAL_WINDOW - 1) : size - 1;
  }
  if (!family.startsWith('qwen') || config.flag('use_sliding_window') !== true || size === undefined) {
    return null;
  }
  const full = config.whole(['max_window_layers'], 2 ** 20, 0) ?? 28;
  const kinds =
    config.texts('layer_types')?.slice(0, layers) ??
    Array.from({ length: layers }, (_, layer) => (layer >= full ? 'sliding_attention' : 'full_attention'));
  const sliding = kinds.filter((kind) => kind === 'sliding_attention').length;
  if (sliding !== 0 && sliding !== layers) {
    throw new TransformerProblem(`${config.source}: only some layers have a sliding window, which is not read.`);
  }
  return sliding === 0 ? null : size - 1;
}

function gateActivation(config: Config, family: TransformerFamily) {
  if (family !== 'gemma') {
    return activationOf(config, ['hidden_act'], 'silu');
  }
  // Gemma's first configurations said "gelu" and meant its approximation.
  const activation = activationOf(config, ['hidden_activation', 'hidden_act'], 'gelu-tanh');
  return activation === 'gelu' ? 'gelu-tanh' : activation;
}
