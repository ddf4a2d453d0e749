import { readHead } from './heads.js';
import {
  type Place,
  MOST_WIDTH,
  activationOf,
  countHeads,
  countLayers,
  dropoutOf,
  epsilonOf,
  layerNorm,
  refuseFields,
  tokenTable,
} from './place.js';
import type { TensorNames } from './tensor-names.js';
import type { Block, Projection, TransformerParts } from './transformer.js';

/** GPT-2: norms first, learnt positions, queries, keys and values in one weight that is stored inputs x outputs. */

/** @throws TransformerProblem when tensors or configuration do not fit */
export function readGpt2(place: Place): TransformerParts {
  const { family, config, names, prefix } = place;
  refuseFields(config, [['add_cross_attention', 'attention to an encoder']]);
  const { tokens, vocabulary, width } = tokenTable(place, 'wte.weight', ['n_embd', 'hidden_size']);
  const layers = countLayers(place, ['n_layer', 'num_hidden_layers'], 'h.', '.ln_1.weight');
  const heads = countHeads(place, ['n_head', 'num_attention_heads'], width);
  const epsilon = epsilonOf(config, 'layer_norm_epsilon', 1e-5);
  const [, found = 0] = names.shapeOf(`${prefix}h.0.mlp.c_fc.weight`, 2);
  const inner = config?.whole(['n_inner'], MOST_WIDTH) ?? (config ? 4 * width : found);
  const [length = 0] = names.shapeOf(`${prefix}wpe.weight`, 2);
  const positions = config?.whole(['n_positions', 'max_position_embeddings'], 2 ** 24) ?? length;
  const scaled = config?.flag('scale_attn_weights') ?? true;
  const byLayer = config?.flag('scale_attn_by_inverse_layer_idx') ?? false;
  const block = (layer: number): Block => {
    const stem = `${prefix}h.${layer}`;
    const fused = (part: number): Projection => ({
      ...storedByInputs(names, `${stem}.attn.c_attn`, width, 3 * width),
      start: part * width,
      outputs: width,
    });
    return {
      query: fused(0),
      key: fused(1),
      value: fused(2),
      output: storedByInputs(names, `${stem}.attn.c_proj`, width, width),
      queryNorm: null,
      keyNorm: null,
      attentionScale: (scaled ? Math.sqrt(heads / width) : 1) / (byLayer ? layer + 1 : 1),
      attentionNorm: layerNorm(names, `${stem}.ln_1`, width, epsilon),
      gate: null,
      up: storedByInputs(names, `${stem}.mlp.c_fc`, width, inner),
      down: storedByInputs(names, `${stem}.mlp.c_proj`, inner, width),
      mlpNorm: layerNorm(names, `${stem}.ln_2`, width, epsilon),
    };
  };
  return {
    family,
    causal: true,
    normFirst: true,
    width,
    vocabulary,
    heads,
    keyValueHeads: heads,
    headWidth: width / heads,
    embedding: {
      tokens,
      positions: names.need(`${prefix}wpe.weight`, [positions, width]),
      positionOffset: 0,
      positionCount: positions,
      types: null,
      scale: 1,
      norm: null,
    },
    rotary: null,
    window: null,
    activation: activationOf(config, ['activation_function'], 'gelu-tanh'),
    blocks: Array.from({ length: layers }, (_, layer) => block(layer)),
    finalNorm: layerNorm(names, `${prefix}ln_f`, width, epsilon),
    head: readHead(place, { tokens, vocabulary, width, tiedByDefault: true }),
    dropout: {
      embedding: dropoutOf(config, 'embd_pdrop', 0.1),
      attention: dropoutOf(config, 'attn_pdrop', 0.1),
      hidden: dropoutOf(config, 'resid_pdrop', 0.1),
    },
  };
}

function storedByInputs(names: TensorNames, stem: string, inputs: number, outputs: number): Projection {
  return {
    weight: names.need(`${stem}.weight`, [inputs, outputs]),
    bias: names.need(`${stem}.bias`, [outputs]),
    transposed: true,
    start: 0,
    outputs,
  };
}
