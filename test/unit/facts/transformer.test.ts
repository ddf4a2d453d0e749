import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Facts } from '../../../src/facts/facts.js';
import { TRANSFORMER } from '../../../src/facts/transformer.js';
import { openTensorFile } from '../../../src/formats/open.js';
import { transformerFolder } from '../../transformers.js';

/** Which transformer a checkpoint is of, by the files beside it. */

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures');

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradleak-transformer-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** The checkpoint stands in for a gradient: only names and shapes are compared. */
function factOf(from: string) {
  const [checkpoint, gradients] = [join(folder, 'checkpoint.safetensors'), join(folder, 'gradient.safetensors')];
  cpSync(join(from, 'checkpoint.safetensors'), checkpoint);
  cpSync(join(from, 'checkpoint.safetensors'), gradients);
  const open = [openTensorFile(checkpoint), openTensorFile(gradients)] as const;
  const hooks = { progress: () => undefined, pause: () => Promise.resolve() };
  const request = { checkpoint, gradients, method: 'auto' as const };
  const facts = new Facts({ request, checkpoint: open[0], gradients: open[1], hooks });
  return facts.get(TRANSFORMER).finally(() => open.forEach((file) => file.close()));
}

function copyConfig(name: string): void {
  cpSync(join(transformerFolder(name), 'config.json'), join(folder, 'config.json'));
}

describe('the transformer', () => {
  it('is told by config.json beside the files', async () => {
    copyConfig('qwen3');
    expect(await factOf(transformerFolder('qwen3'))).toMatchObject({
      family: 'qwen3',
      source: join(folder, 'config.json'),
      headWidth: 12,
      keyValueHeads: 2,
      head: { kind: 'language-model', weight: 'lm_head.weight' },
    });
  });

  it('is refused with a sentence where config.json is of another model', async () => {
    copyConfig('mistral');
    expect(await factOf(transformerFolder('qwen2'))).toEqual({
      refused: expect.stringContaining('config.json') as string,
    });
  });

  it('is looked for by names where config.json is broken, which is said with what is missing', async () => {
    writeFileSync(join(folder, 'config.json'), '{"model_type": ');
    const { refused } = (await factOf(transformerFolder('llama'))) as { refused: string };
    expect(refused).toMatch(/config\.json: passed over, .*put its config\.json beside the checkpoint\.$/s);
  });

  it('is none where config.json is of something else', async () => {
    writeFileSync(join(folder, 'config.json'), '{"model_type": "resnet", "n_head": "many"}');
    expect(await factOf(join(FIXTURES, 'dumps', 'in_safetensors'))).toBeUndefined();
  });
});
