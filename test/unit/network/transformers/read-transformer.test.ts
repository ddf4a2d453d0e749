import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readTransformer } from '../../../../src/network/transformers/read-transformer.js';
import type { NamedShape } from '../../../../src/network/transformers/tensor-names.js';
import { attends } from '../../../../src/network/transformers/transformer-graph.js';
import { TRANSFORMER_NAMES, readAs, transformerCase } from '../../../transformers.js';

/** What a checkpoint's names, shapes and config.json say, and what happens when they do not. */

const CASES = new Map(TRANSFORMER_NAMES.map((name) => [name, transformerCase(name)]));

function caseOf(name: string) {
  const { entries, config } = CASES.get(name)!;
  return { entries, config };
}

function renamed(entries: readonly NamedShape[], change: (name: string) => string): NamedShape[] {
  return entries.map(({ name, shape }) => ({ name: change(name), shape }));
}

/** A model four times as wide, since heads are 64 wide where only names and shapes are known. */
function widened(name: string): NamedShape[] {
  return caseOf(name).entries.map((entry) => ({
    ...entry,
    shape: entry.shape.map((size) => (size % 32 === 0 ? 4 * size : size)),
  }));
}

function refusal(entries: readonly NamedShape[], config: unknown): string {
  const found = readTransformer(entries, config, 'config.json');
  return found && 'refused' in found ? found.refused : `not refused: ${JSON.stringify(found)}`;
}

describe.each(TRANSFORMER_NAMES)('%s', (name) => {
  it('is the same below any prefix', () => {
    const { entries, config } = caseOf(name);
    const plain = readAs(entries, config);
    const names = new Set(entries.map((own) => own.name));
    for (const prefix of ['module.', 'base_model.model.', 'state_dict.model.', '_orig_mod.']) {
      const found = readAs(
        renamed(entries, (own) => prefix + own),
        config,
      );
      const text = JSON.stringify(plain, (_, value: unknown) =>
        typeof value === 'string' && names.has(value) ? prefix + value : value,
      );
      expect(JSON.parse(JSON.stringify(found))).toEqual(JSON.parse(text));
    }
  });

  it('ends in a reading or a sentence, whatever the configuration holds', () => {
    const { entries, config } = caseOf(name);
    const fields = [...Object.keys(config).filter((own) => own !== 'model_type'), 'rope_scaling', 'rope_theta'];
    const strange = fc.oneof(
      fc.jsonValue({ maxDepth: 2 }),
      fc.double(),
      fc.integer(),
      fc.constantFrom(0, -1, 1e308, 2 ** 53, Infinity, NaN, '12', null, true, [], {}, { rope_type: 'yarn' }),
    );
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...fields), strange, { maxKeys: 4 }), (changed) => {
        const found = readTransformer(entries, { ...config, ...changed }, 'config.json');
        if (found && 'refused' in found) {
          expect(found.refused).toMatch(/^(config\.json|The checkpoint|").*\.$/s);
        } else {
          expect(found!.blocks).toHaveLength(2);
          expect(found!.rotary?.frequencies.every(Number.isFinite) ?? true).toBe(true);
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe('heads', () => {
  const gpt2 = caseOf('gpt2');
  const withHead = [...gpt2.entries, { name: 'lm_head.weight', shape: [40, 32] }];

  it('of a language model are tied as the configuration says, else as its family is', () => {
    expect(readAs(gpt2.entries, gpt2.config).head).toMatchObject({ weight: 'transformer.wte.weight', tied: true });
    expect(readAs(withHead, gpt2.config).head).toMatchObject({ weight: 'transformer.wte.weight', tied: true });
    const untied = { ...gpt2.config, tie_word_embeddings: false };
    expect(readAs(withHead, untied).head).toMatchObject({ weight: 'lm_head.weight', tied: false });
    expect(readAs(gpt2.entries, untied).head).toMatchObject({ weight: 'transformer.wte.weight', tied: true });
    const llama = caseOf('llama');
    const { tie_word_embeddings: _, ...silent } = llama.config;
    expect(readAs(llama.entries, silent).head).toMatchObject({ weight: 'lm_head.weight', tied: false });
  });

  it('are tied without a configuration where the second name has no gradient', () => {
    const entries = [...widened('gpt2'), { name: 'lm_head.weight', shape: [40, 128] }];
    expect(readAs(entries, undefined).head).toMatchObject({ weight: 'lm_head.weight', tied: false });
    const trained = new Set(['transformer.wte.weight']);
    expect(readAs(entries, undefined, trained).head).toMatchObject({ weight: 'transformer.wte.weight', tied: true });
  });

  it('are of the embedding where the whole checkpoint is the body of a language model', () => {
    const bare = renamed(gpt2.entries, (name) => name.replace('transformer.', ''));
    expect(readAs(bare, gpt2.config).head).toMatchObject({ weight: 'wte.weight', tied: true });
    expect(readAs(bare, { ...gpt2.config, architectures: ['GPT2Model'] }).head).toBeNull();
    const bert = caseOf('bert');
    const body = renamed(
      bert.entries.filter(({ name }) => name.startsWith('bert.')),
      (name) => name.replace('bert.', ''),
    );
    expect(readAs(body, bert.config).head).toBeNull();
  });

  it.each([
    ['bert', 'language-model'],
    ['roberta', 'language-model'],
    ['distilbert', 'language-model'],
    ['bert-sequence', 'sequence-classifier'],
    ['roberta-sequence', 'sequence-classifier'],
    ['distilbert-sequence', 'sequence-classifier'],
    ['llama-sequence', 'sequence-classifier'],
    ['gpt2-scaled', 'sequence-classifier'],
    ['bert-token', 'token-classifier'],
    ['llama-token', 'token-classifier'],
  ])('of %s are told from names alone', (name, kind) => {
    const { entries, config } = caseOf(name);
    const { architectures: _, ...silent } = config;
    expect(readAs(entries, silent).head).toMatchObject({ kind });
  });
});

describe('without a configuration', () => {
  it.each([
    ['gpt2', 'gpt2', 1e-5],
    ['bert', 'bert', 1e-12],
    ['roberta', 'roberta', 1e-5],
    ['distilbert', 'distilbert', 1e-12],
  ])('names and shapes tell %s', (name, family, epsilon) => {
    const found = readAs(widened(name), undefined);
    expect(found).toMatchObject({ family, source: 'names and shapes', width: 128, heads: 2, headWidth: 64 });
    expect(found.blocks).toHaveLength(2);
    expect(found.blocks[0]!.attentionNorm.epsilon).toBe(epsilon);
    expect(found.embedding).toMatchObject(
      family === 'roberta' ? { positionOffset: 2, positionCount: 8 } : { positionOffset: 0, positionCount: 8 },
    );
  });

  it('what they do not tell is asked for', () => {
    expect(refusal(caseOf('llama').entries, undefined)).toMatch(/put its config\.json beside/);
    expect(refusal(caseOf('gpt2').entries, undefined)).toMatch(/32 wide: put its config\.json beside/);
  });

  it('what is no transformer is none', () => {
    const other = [{ name: 'conv1.weight', shape: [3, 3, 3, 3] }];
    for (const config of [undefined, null, [], 'x', 7, {}, { lr: 0.1 }, { model_type: 7 }, { model_type: 'resnet' }]) {
      expect(readTransformer(other, config, 'config.json')).toBeUndefined();
    }
    expect(readAs(widened('gpt2'), { lr: 0.1 }).source).toBe('names and shapes');
  });

  it('copies are told by what has gradients', () => {
    const entries = widened('gpt2');
    const both = [...renamed(entries, (name) => `ema.${name}`), ...renamed(entries, (name) => `model.${name}`)];
    expect(readAs(both, undefined).embedding.tokens).toBe('ema.transformer.wte.weight');
    const trained = new Set(['model.transformer.h.0.attn.c_attn.weight']);
    expect(readAs(both, undefined, trained).embedding.tokens).toBe('model.transformer.wte.weight');
  });
});

describe('rotation and windows', () => {
  it.each(['llama', 'llama-sequence', 'qwen2'])('of %s are the same in the older form', (name) => {
    const { entries, config } = caseOf(name);
    const { rope_parameters: parameters, ...rest } = config as { rope_parameters: Record<string, unknown> };
    const { rope_theta, rope_type, ...scaling } = parameters;
    const older = {
      ...rest,
      rope_theta,
      rope_scaling: rope_type === 'default' ? null : { ...scaling, type: rope_type },
    };
    expect(readAs(entries, older).rotary).toEqual(readAs(entries, config).rotary);
  });

  it('are seen as far back as the window reaches', () => {
    const { entries, config } = caseOf('mistral');
    const windowed = readAs(entries, config);
    expect([0, 1, 2, 3, 4, 5].map((to) => attends(windowed, 4, to))).toEqual([false, false, true, true, true, false]);
    expect(readAs(entries, { ...config, sliding_window: null }).window).toBeNull();
    const { sliding_window: _, ...silent } = config;
    expect(readAs(entries, silent).window).toBe(4095);
  });

  it('that differ from layer to layer are refused', () => {
    const { entries, config } = caseOf('qwen2');
    const own = { ...config, layer_types: null, use_sliding_window: true, sliding_window: 3 };
    expect(readAs(entries, own).window).toBeNull();
    expect(readAs(entries, { ...own, max_window_layers: 0 }).window).toBe(2);
    expect(refusal(entries, { ...own, max_window_layers: 1 })).toMatch(/only some layers have a sliding window/);
  });
});

describe('refusals', () => {
  const rope = (own: object): object => ({ rope_parameters: { rope_theta: 1e4, ...own } });
  it.each<[string, object, RegExp]>([
    ['gpt2', { n_head: 5 }, /config\.json: "n_head" is 5, which does not divide 32/],
    ['gpt2', { n_head: 1e300 }, /"n_head" is 1e\+300, which is not a whole number from 1 to/],
    ['gpt2', { n_head: '4' }, /"n_head" is "4", which is not a whole number/],
    ['gpt2', { n_embd: 48 }, /"transformer\.wte\.weight" is 40 x 32, but 40 x 48 by config\.json/],
    ['gpt2', { vocab_size: 50257 }, /"transformer\.wte\.weight" is 40 x 32, but 50257 x 32 by config\.json/],
    ['gpt2', { n_layer: 12 }, /holds 2 layers .* but 12 by config\.json/],
    ['gpt2', { n_inner: 128 }, /"transformer\.h\.0\.mlp\.c_fc\.weight" is 32 x 40, but 32 x 128 by config\.json/],
    ['gpt2', { n_positions: 1024 }, /"transformer\.wpe\.weight" is 8 x 32, but 1024 x 32/],
    ['gpt2', { layer_norm_epsilon: -1 }, /"layer_norm_epsilon" is -1, which is not a number from 0 to 1/],
    ['gpt2', { activation_function: 'mish' }, /activation "mish" is not one of those that are read/],
    ['gpt2', { scale_attn_weights: 'yes' }, /"scale_attn_weights" is "yes", which is not true or false/],
    ['gpt2', { add_cross_attention: true }, /attention to an encoder is not read/],
    ['gpt2', { architectures: 7 }, /"architectures" is 7, which is not a list of texts/],
    ['gpt2', { model_type: 'opt' }, /a model of type "opt" is not read, only gpt2/],
    ['gpt2', { model_type: 'bert' }, /describes a bert, but the checkpoint holds no "embeddings/],
    ['bert', { position_embedding_type: 'relative_key' }, /positions are not absolute/],
    ['bert', { intermediate_size: 64 }, /intermediate\.dense\.weight" is 40 x 32, but 64 x 32/],
    ['roberta', { pad_token_id: 'one' }, /"pad_token_id" is "one"/],
    ['distilbert', { n_heads: 3 }, /"n_heads" is 3, which does not divide 32/],
    ['llama', { num_attention_heads: null }, /no "num_attention_heads"/],
    ['llama', { num_key_value_heads: 3 }, /"num_key_value_heads" is 3, which does not divide 4/],
    ['llama', { num_key_value_heads: 4 }, /k_proj\.weight" is 16 x 32, but 32 x 32 by config\.json/],
    ['llama', { head_dim: 7 }, /7 wide, and only an even width can be rotated/],
    ['llama', { head_dim: 16 }, /q_proj\.weight" is 32 x 32, but 64 x 32 by config\.json/],
    [
      'llama',
      rope({ rope_type: 'yarn', factor: 4 }),
      /positions are scaled as "yarn"; only default, linear and llama3/,
    ],
    ['llama', rope({ rope_type: 'linear' }), /the scaling of positions has no "factor"/],
    ['llama', rope({ rope_type: 'llama3', factor: 8, low_freq_factor: 4, high_freq_factor: 1 }), /its bounds cross/],
    ['llama', rope({ partial_rotary_factor: 0.5 }), /only a part of each head is rotated/],
    ['llama', { rope_parameters: [1] }, /"rope_parameters" is \[1\], which is not an object/],
    ['llama', rope({ rope_theta: 0 }), /"rope_parameters\.rope_theta" is 0, which is not a number from 1/],
    ['gemma', { use_bidirectional_attention: true }, /attention to what comes after is not read/],
  ])('%s with %j', (name, change, expected) => {
    const { entries, config } = caseOf(name);
    expect(refusal(entries, { ...config, ...change })).toMatch(expected);
  });

  it('name an adapter', () => {
    const { entries, config } = caseOf('llama');
    const adapted = renamed(entries, (name) => name.replace('q_proj.weight', 'q_proj.base_layer.weight'));
    expect(refusal(adapted, config)).toMatch(
      /layers\.0\.self_attn\.q_proj\.base_layer\.weight" has an adapter other than LoRA/,
    );
  });

  it('name the tensor that is missing or of another rank', () => {
    const { entries, config } = caseOf('qwen3');
    const without = entries.filter(({ name }) => name !== 'model.layers.1.self_attn.k_norm.weight');
    expect(refusal(without, config)).toMatch(/no "model\.layers\.1\.self_attn\.k_norm\.weight"/);
    const flat = entries.map((own) => (own.name === 'model.norm.weight' ? { ...own, shape: [32, 1] } : own));
    expect(refusal(flat, config)).toMatch(/"model\.norm\.weight" is 32 x 1, which is not a vector/);
  });
});
