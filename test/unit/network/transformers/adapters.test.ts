import { describe, expect, it } from 'vitest';
import { readAdapters } from '../../../../src/network/transformers/adapters.js';

/** Names and shapes of adapters, from anybody. */

const MODULE = 'base_model.model.h.0.attn.c_attn';
const CONFIG = { peft_type: 'LORA', r: 4, lora_alpha: 8 };

function read(shapes: Record<string, number[]>, config: object | undefined = CONFIG) {
  return readAdapters(
    Object.entries(shapes).map(([name, shape]) => ({ name, shape })),
    config,
    'adapter_config.json',
  );
}

const own = (a = [4, 6], b = [18, 4]) => ({ [`${MODULE}.lora_A.weight`]: a, [`${MODULE}.lora_B.weight`]: b });

describe('adapters', () => {
  it('belong to a weight of the base model whose name begins later', () => {
    const adapters = read({ 'h.0.attn.c_attn.weight': [6, 18], 'ln_f.weight': [6], ...own() })!;
    expect([...adapters.byWeight.values()]).toEqual([
      {
        weight: 'h.0.attn.c_attn.weight',
        base: 'h.0.attn.c_attn.weight',
        a: `${MODULE}.lora_A.weight`,
        b: `${MODULE}.lora_B.weight`,
        rank: 4,
        inputs: 6,
        outputs: 18,
        scale: 2,
      },
    ]);
    expect([...adapters.stored.keys()]).toEqual(['h.0.attn.c_attn.weight', 'ln_f.weight']);
  });

  it.each([
    [{}, 2],
    [{ use_rslora: true }, 4],
    [{ alpha_pattern: { c_attn: 2 } }, 0.5],
    [{ r: 16, rank_pattern: { 'attn.c_attn': 4 } }, 2],
    [{ alpha_pattern: { '.*': 2 } }, 2],
  ])('are scaled as %j says', (change, scale) => {
    const adapters = read({ [`${MODULE}.base_layer.weight`]: [18, 6], ...own() }, { ...CONFIG, ...change })!;
    expect(adapters.byWeight.get(`${MODULE}.weight`)).toMatchObject({ base: `${MODULE}.base_layer.weight`, scale });
  });

  it('have no scale without a configuration', () => {
    const adapters = readAdapters(
      Object.entries({ [`${MODULE}.base_layer.weight`]: [18, 6], ...own() }).map(([name, shape]) => ({ name, shape })),
      undefined,
      '',
    )!;
    expect(adapters.byWeight.get(`${MODULE}.weight`)!.scale).toBeNull();
  });

  it('are none where no name says so', () => {
    expect(read({ 'h.0.attn.c_attn.weight': [6, 18] })).toBeUndefined();
  });

  it.each([
    ['a missing factor', { [`${MODULE}.lora_A.weight`]: [4, 6] }, /one of lora_A and lora_B only/],
    ['factors that do not fit', own([4, 6], [18, 5]), /no product of theirs/],
    ['a rank of zero', own([0, 6], [18, 0]), /no product of theirs/],
    ['vectors', own([4], [18]), /no product of theirs/],
    ['another size', own([4, 7]), /18 x 7, and the checkpoint's is 6 x 18/],
    ['another layer', { 'x.lora_A.weight': [4, 6], 'x.lora_B.weight': [18, 4] }, /is not there/],
    ['two adapters', { ...own(), [`${MODULE}.lora_A.other.weight`]: [4, 6] }, /several adapters/],
    ['rescaled weights', { ...own(), [`${MODULE}.lora_magnitude_vector.weight`]: [18] }, /more than LoRA/],
  ])('are refused with %s', (_, shapes, reason) => {
    expect(() => read({ 'h.0.attn.c_attn.weight': [6, 18], ...shapes })).toThrow(reason);
  });
});
