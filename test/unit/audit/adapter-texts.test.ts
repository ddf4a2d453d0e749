import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { renderReport } from '../../../src/cli/render-text.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import type { TextsDetail } from '../../../src/protocol/detail.js';
import type { Report } from '../../../src/protocol/report.js';
import { readTensors } from '../../networks.js';
import { type FixtureTensor, writeSafetensors } from '../../write-fixtures.js';

/** Texts from the gradients of PEFT's adapters; the truth only measures. */

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures', 'adapter-texts');
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-adapters-'));
const quiet = { progress: () => undefined, pause: () => Promise.resolve() };

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

function copyOf(name: string): string {
  const folder = mkdtempSync(join(scratch, `${name}-`));
  cpSync(join(FIXTURES, name), folder, { recursive: true });
  return folder;
}

type Change = (data: Float64Array, name: string) => ArrayLike<number> | undefined;

/** A fixture of which one file is changed tensor by tensor; undefined leaves one out. */
function changed(name: string, file: string, change: Change): string {
  const folder = copyOf(name);
  const path = join(folder, file);
  const tensors = [...readTensors(path)].flatMap(([key, { shape, data }]): [string, FixtureTensor][] => {
    const own = change(Float64Array.from(data), key);
    return own ? [[key, { shape: [...shape], data: Float32Array.from(own) }]] : [];
  });
  writeSafetensors(path, Object.fromEntries(tensors));
  return folder;
}

/** A fixture with other values in its adapter_config.json. */
function configured(name: string, values: object): string {
  const folder = copyOf(name);
  const path = join(folder, 'adapter_config.json');
  const config = JSON.parse(readFileSync(path, 'utf8')) as object;
  writeFileSync(path, JSON.stringify({ ...config, ...values }));
  return folder;
}

async function auditOf(folder: string): Promise<Report> {
  const { report } = await runAudit({ ...pathsInFolder(folder), method: 'auto' }, quiet);
  return report;
}

const rowOf = ({ methods }: Report) => methods!.find(({ id }) => id === 'texts')!;
const leakOf = ({ leaks }: Report) => leaks.find(({ method }) => method === 'texts');

function idsOf(report: Report): string[] {
  const detail = leakOf(report)!.details.find((own): own is TextsDetail => own.type === 'texts')!;
  return detail.texts.map(({ tokens }) => tokens.map(({ id }) => id).join(' ')).sort();
}

function expected(name: string): string[] {
  const { tokens } = JSON.parse(readFileSync(join(FIXTURES, name, 'expected.json'), 'utf8')) as { tokens: number[][] };
  return tokens.map((own) => own.join(' ')).sort();
}

describe('texts from the gradients of adapters', () => {
  it('are read where the adapters are fresh and apart from the model', async () => {
    const report = await auditOf(join(FIXTURES, 'gpt2-fresh'));
    expect(idsOf(report)).toEqual(expected('gpt2-fresh'));
    expect(leakOf(report)).toMatchObject({
      certificate: { by: 'gradient', verdict: 'exact', expectedError: 0 },
      gives: { inputs: 1, tokens: 6 },
    });
    expect(leakOf(report)!.certificate!.error).toBeLessThan(3e-6);
    expect(report.findings.map(({ id, severity }) => [id, severity])).toContainEqual(['texts-recovered', 'high']);
    expect(renderReport(report)).toMatch(/They\s+are\s+fresh/);
  });

  it('are read of more tokens than the rank of one adapter, where two that are trained share their input', async () => {
    const report = await auditOf(join(FIXTURES, 'llama-trained'));
    expect(idsOf(report)).toEqual(expected('llama-trained'));
    expect(leakOf(report)).toMatchObject({ certificate: { by: 'gradient', verdict: 'exact' } });
    expect(leakOf(report)!.certificate!.error).toBeLessThan(3e-6);
  });

  it('are read where the checkpoint that is given is the adapter', async () => {
    const folder = join(FIXTURES, 'gpt2-fresh');
    const { report } = await runAudit(
      {
        checkpoint: join(folder, 'adapter_model.safetensors'),
        gradients: join(folder, 'gradient.safetensors'),
        method: 'auto',
      },
      quiet,
    );
    expect(idsOf(report)).toEqual(expected('gpt2-fresh'));
  });

  it('are not read of more tokens than the rank, which is said with the number', async () => {
    const report = await auditOf(join(FIXTURES, 'gpt2-crowded'));
    expect(leakOf(report)).toBeUndefined();
    expect(rowOf(report)).toMatchObject({ outcome: 'nothing' });
    expect(rowOf(report).detail).toMatch(/at least 4 tokens, and more than that the adapters' rank hides/);
  });

  it.each([
    ['of a gradient of lora_B with full rank', 4, /fresh.*full rank of 8.*at least 8 tokens/],
    ['of zeros', 0, /is zero: no token had a loss/],
  ])('are not read %s', async (_, size, reason) => {
    let seed = 1;
    const random = (): number => ((seed = (seed * 48271) % 2147483647) / 2147483647 - 0.5) * size;
    const folder = changed('gpt2-fresh', 'gradient.safetensors', (data, name) =>
      name.includes('lora_B') ? data.map(random) : data,
    );
    const report = await auditOf(folder);
    expect(leakOf(report)).toBeUndefined();
    expect(rowOf(report).detail).toMatch(reason);
  });

  it.each([
    ['gpt2-fresh', 'model.safetensors', 'h.0.ln_1.weight', /No token lies/],
    ['llama-trained', 'checkpoint.safetensors', 'embed_tokens.weight', /No token lies/],
    ['llama-trained', 'checkpoint.safetensors', 'layers.0.mlp.up_proj.weight', /no text that begins with them fits/],
  ])('of another checkpoint than %s are not read: %s, %s', async (name, file, tensor, reason) => {
    const folder = changed(name, file, (data, key) =>
      key.endsWith(tensor) ? data.map((value, at) => value * (1 + 0.01 * Math.sin(at))) : data,
    );
    const report = await auditOf(folder);
    expect(leakOf(report)).toBeUndefined();
    expect(rowOf(report).detail).toMatch(reason);
  });

  it('are candidates where their own gradient differs by more than the noise of the dump', async () => {
    // Of another length, a tensor spans the same space, so that tokens fit as before.
    const folder = changed('llama-trained', 'gradient.safetensors', (data, name) =>
      name.includes('layers.1.') && name.includes('q_proj.lora_A') ? data.map((value) => value * 1.001) : data,
    );
    const report = await auditOf(folder);
    expect(idsOf(report)).toEqual(expected('llama-trained'));
    expect(leakOf(report)).toMatchObject({
      certificate: { by: 'gradient', verdict: 'uncertain', expectedError: null },
    });
    expect(leakOf(report)!.certificate!.error).toBeLessThan(1e-3);
    expect(JSON.stringify(leakOf(report))).toMatch(/more than the noise of the dump/);
  });

  it('are candidates without their last tokens where the last norm is of another checkpoint', async () => {
    const folder = changed('llama-trained', 'checkpoint.safetensors', (data, key) =>
      key.endsWith('.norm.weight') ? data.map((value, at) => (at % 2 === 0 ? value : -value)) : data,
    );
    const report = await auditOf(folder);
    expect(leakOf(report)!.certificate).toMatchObject({ verdict: 'uncertain', expectedError: null });
    expect(idsOf(report)).toEqual(expected('llama-trained').map((text) => text.replace(/ \d+$/, '')));
    expect(report.findings.map(({ id }) => id)).not.toContain('texts-recovered');
    expect(renderReport(report)).toMatch(/without\s+the\s+last\s+token/);
  });

  it('of one block are told as tokens, whose order nothing tells', async () => {
    const folder = changed('llama-trained', 'gradient.safetensors', (data, name) =>
      name.includes('layers.1.') ? undefined : data,
    );
    const report = await auditOf(folder);
    expect(leakOf(report)).toBeUndefined();
    expect(rowOf(report).detail).toMatch(/^9 tokens of the batch can be told .* and not their order/);
  });

  it.each([
    ['gradient.safetensors', 'lora_A', NaN],
    ['gradient.safetensors', 'lora_B', Infinity],
    ['checkpoint.safetensors', 'lora_B', NaN],
    ['checkpoint.safetensors', 'layers.0.self_attn.v_proj.base_layer', NaN],
  ])('are not read where %s has numbers in %s that are none', async (file, name, value) => {
    const folder = changed('llama-trained', file, (data, key) => (key.includes(name) ? data.fill(value, 0, 3) : data));
    const report = await auditOf(folder);
    expect(leakOf(report)).toBeUndefined();
    expect(rowOf(report).detail).toMatch(
      file.startsWith('gradient') ? /holds NaN or infinite values/ : /No token lies|no text/,
    );
  });

  it.each([
    ['a rank of zero', { r: 0 }, /"r" is 0, which is not a whole number/],
    ['a rank that tensors do not have', { r: 16 }, /rank of ".*" is 16, and ".*lora_A.*" has 8 rows/],
    ['a huge scale', { lora_alpha: 1e300 }, /"lora_alpha" is 1e\+300/],
    ['no scale', { lora_alpha: null }, /"r" and "lora_alpha" are needed/],
    ['another method', { peft_type: 'LOHA' }, /only plain LoRA is read/],
    ['weights that are rescaled', { use_dora: true }, /"use_dora" is true/],
    ['a list for a pattern', { alpha_pattern: ['q_proj'] }, /"alpha_pattern" is \["q_proj"\]/],
  ])('are refused with %s in adapter_config.json', async (_, values, reason) => {
    const report = await auditOf(configured('llama-trained', values));
    expect(leakOf(report)).toBeUndefined();
    expect(rowOf(report)).toMatchObject({ outcome: 'not-applicable', detail: expect.stringMatching(reason) as string });
  });

  it('need no adapter_config.json where the adapters are fresh, and say so where they are trained', async () => {
    const [fresh, trained] = [copyOf('gpt2-fresh'), copyOf('llama-trained')];
    rmSync(join(fresh, 'adapter_config.json'));
    rmSync(join(trained, 'adapter_config.json'));
    expect(rowOf(await auditOf(trained)).detail).toMatch(/nothing tells its scale: put adapter_config\.json beside/);
    const report = await auditOf(fresh);
    expect(leakOf(report)!.certificate!.verdict).not.toBe('exact');
  });

  it.each(['adapter_model.safetensors', 'model.safetensors'])('need %s', async (name) => {
    const folder = copyOf('gpt2-fresh');
    rmSync(join(folder, name));
    await expect(auditOf(folder)).rejects.toMatchObject({ code: 'missing-file' });
  });
});
