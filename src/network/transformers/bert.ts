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
  linear,
  refuseFields,
  tokenTable,
} from './place.js';
import { TransformerProblem } from './problem.js';
import type { Transformer, TransformerParts } from './transformer.js';

/** BERT, RoBERTa and DistilBERT: norms behind the sums, learnt positions, every token sees all others. */

/** What the three call their tensors and their configuration's fields. */
interface Names {
  readonly layers: string;
  readonly query: string;
  readonly key: string;
  readonly value: string;
  readonly output: string;
  readonly attentionNorm: string;
  readonly up: string;
  readonly down: string;
  readonly mlpNorm: string;
  readonly fields: {
    readonly width: readonly string[];
    readonly layers: readonly string[];
    readonly heads: readonly string[];
    readonly inner: readonly string[];
    readonly activation: readonly string[];
    readonly dropout: string;
    readonly attentionDropout: string;
  };
}

const BERT: Names = {
  layers: 'encoder.layer.',
  query: 'attention.self.query',
  key: 'attention.self.key',
  value: 'attention.self.value',
  output: 'attention.output.dense',
  attentionNorm: 'attention.output.LayerNorm',
  up: 'intermediate.dense',
  down: 'output.dense',
  mlpNorm: 'output.LayerNorm',
  fields: {
    width: ['hidden_size'],
    layers: ['num_hidden_layers'],
    heads: ['num_attention_heads'],
    inner: ['intermediate_size'],
    activation: ['hidden_act'],
    dropout: 'hidden_dropout_prob',
    attentionDropout: 'attention_probs_dropout_prob',
  },
};

const DISTILBERT: Names = {
  layers: 'transformer.layer.',
  query: 'attention.q_lin',
  key: 'attention.k_lin',
  value: 'attention.v_lin',
  output: 'attention.out_lin',
  attentionNorm: 'sa_layer_norm',
  up: 'ffn.lin1',
  down: 'ffn.lin2',
  mlpNorm: 'output_layer_norm',
  fields: {
    width: ['dim', 'hidden_size'],
    layers: ['n_layers', 'num_hidden_layers'],
    heads: ['n_heads', 'num_attention_heads'],
    inner: ['hidden_dim'],
    activation: ['activation'],
    dropout: 'dropout',
    attentionDropout: 'attention_dropout',
  },
};

/** @throws TransformerProblem when tensors or configuration do not fit */
export function readBert(place: Place): TransformerParts {
  const { family, config, names, prefix } = place;
  const own = family === 'distilbert' ? DISTILBERT : BERT;
  refuseFields(config, [['add_cross_attention', 'attention to an encoder']]);
  const kind = config?.text(['position_embedding_type']);
  if (kind !== undefined && kind !== 'absolute') {
    throw new TransformerProblem(`${config?.source ?? ''}: positions are not absolute, which is not read.`);
  }
  const { tokens, vocabulary, width } = tokenTable(place, 'embeddings.word_embeddings.weight', own.fields.width);
  const layers = countLayers(place, own.fields.layers, own.layers, `.${own.query}.weight`);
  const heads = countHeads(place, own.fields.heads, width);
  // Published RoBERTa models say 1e-5, where the class's own default is BERT's.
  const usual = family === 'roberta' && !config ? 1e-5 : 1e-12;
  const epsilon = family === 'distilbert' ? 1e-12 : epsilonOf(config, 'layer_norm_eps', usual);
  const [found = 0] = names.shapeOf(`${prefix}${own.layers}0.${own.up}.weight`, 2);
  const inner = config?.whole(own.fields.inner, MOST_WIDTH) ?? found;
  const activation = activationOf(config, own.fields.activation, 'gelu');
  const dropout = dropoutOf(config, own.fields.dropout, 0.1);
  return {
    family,
    causal: config?.flag('is_decoder') ?? false,
    normFirst: false,
    width,
    vocabulary,
    heads,
    keyValueHeads: heads,
    headWidth: width / heads,
    embedding: embeddingOf(place, tokens, width, epsilon),
    rotary: null,
    window: null,
    activation,
    blocks: Array.from({ length: layers }, (_, layer) => {
      const stem = `${prefix}${own.layers}${layer}.`;
      const square = (name: string) => linear(names, stem + name, width, width, 'needed');
      return {
        query: square(own.query),
        key: square(own.key),
        value: square(own.value),
        output: square(own.output),
        queryNorm: null,
        keyNorm: null,
        attentionScale: Math.sqrt(heads / width),
        attentionNorm: layerNorm(names, stem + own.attentionNorm, width, epsilon),
        gate: null,
        up: linear(names, stem + own.up, width, inner, 'needed'),
        down: linear(names, stem + own.down, inner, width, 'needed'),
        mlpNorm: layerNorm(names, stem + own.mlpNorm, width, epsilon),
      };
    }),
    finalNorm: null,
    head: readHead(place, { tokens, vocabulary, width, tiedByDefault: true, activation, epsilon }),
    dropout: {
      embedding: dropout,
      attention: dropoutOf(config, own.fields.attentionDropout, 0.1),
      hidden: dropout,
    },
  };
}

function embeddingOf(
  { family, config, names, prefix }: Place,
  tokens: string,
  width: number,
  epsilon: number,
): Transformer['embedding'] {
  const table = (name: string, field: string): string => {
    const full = `${prefix}embeddings.${name}.weight`;
    const [rows = 0] = names.shapeOf(full, 2);
    return names.need(full, [config?.whole([field], 2 ** 24) ?? rows, width]);
  };
  const positions = table('position_embeddings', 'max_position_embeddings');
  const [rows = 0] = names.shapeOf(positions, 2);
  // RoBERTa counts from behind the number of its padding.
  const positionOffset = family === 'roberta' ? (config?.whole(['pad_token_id'], rows - 1, 0) ?? 1) + 1 : 0;
  return {
    tokens,
    positions,
    positionOffset,
    positionCount: rows - positionOffset,
    types: family === 'distilbert' ? null : table('token_type_embeddings', 'type_vocab_size'),
    scale: 1,
    norm: layerNorm(names, `${prefix}embeddings.LayerNorm`, width, epsilon),
  };
}
