import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { renderReport } from '../../../src/cli/render-text.js';
import type { TextsDetail } from '../../../src/protocol/detail.js';
import { CancelledError } from '../../../src/protocol/errors.js';
import type { Report } from '../../../src/protocol/report.js';
import { generator } from '../../../src/recovery/paper-method.js';
import { readTensors } from '../../networks.js';
import { gaussian } from '../../synthetic-head.js';
import { type FixtureTensor, writeSafetensors } from '../../write-fixtures.js';

/** Texts that language models of transformers were trained on, from PyTorch's gradients; the truth only measures. */

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures', 'texts');
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-texts-'));
const quiet = { progress: () => undefined, pause: () => Promise.resolve() };

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

type Change = (data: Float64Array, name: string, deviation: number) => ArrayLike<number> | undefined;

/** A fixture whose gradient, or checkpoint, is changed tensor by tensor; undefined leaves one out. */
function changed(name: string, file: 'gradient' | 'checkpoint', change: Change): string {
  const folder = mkdtempSync(join(scratch, `${name}-`));
  mkdirSync(folder, { recursive: true });
  for (const own of ['checkpoint.safetensors', 'gradient.safetensors', 'config.json']) {
    copyFileSync(join(FIXTURES, name, own), join(folder, own));
  }
  const path = join(folder, `${file}.safetensors`);
  const tensors = [...readTensors(path)].flatMap(([key, { shape, data }]): [string, FixtureTensor][] => {
    const numbers = Float64Array.from(data);
    const deviation = Math.sqrt(numbers.reduce((sum, value) => sum + value * value, 0) / numbers.length);
    const own = change(numbers, key, deviation);
    return own ? [[key, { shape: [...shape], data: Float32Array.from(own) }]] : [];
  });
  writeSafetensors(path, Object.fromEntries(tensors));
  return folder;
}

async function auditOf(folder: string): Promise<Report> {
  const { report } = await runAudit(
    {
      checkpoint: join(folder, 'checkpoint.safetensors'),
      gradients: join(folder, 'gradient.safetensors'),
      method: 'auto',
    },
    quiet,
  );
  return report;
}

const rowOf = ({ methods }: Report) => methods!.find(({ id }) => id === 'texts')!;
const leakOf = ({ leaks }: Report) => leaks.find(({ method }) => method === 'texts');
const detailOf = (report: Report): TextsDetail => leakOf(report)!.details.find((own) => own.type === 'texts')!;

function idsOf(report: Report): number[][] {
  return detailOf(report)
    .texts.map(({ tokens }) => tokens.map(({ id }) => id))
    .sort((one, other) => one.join().localeCompare(other.join()));
}

function expected(name: string): number[][] {
  const { tokens } = JSON.parse(readFileSync(join(FIXTURES, name, 'expected.json'), 'utf8')) as { tokens: number[][] };
  return tokens.sort((one, other) => one.join().localeCompare(other.join()));
}

describe('texts of causal language models', () => {
  it('are read word for word where the head is tied to the embedding', async () => {
    const report = await auditOf(join(FIXTURES, 'gpt2'));
    expect(idsOf(report)).toEqual(expected('gpt2'));
    const leak = leakOf(report)!;
    expect(leak).toMatchObject({
      certificate: { by: 'gradient', verdict: 'exact', expectedError: 0 },
      gives: { inputs: 2, tokens: 33 },
    });
    expect(leak.certificate!.error).toBeLessThan(2e-6);
    const said = detailOf(report).texts.map(({ tokens }) => tokens.map(({ text }) => text).join(''));
    expect(said).toContain('Her account number is 4711, and the password is green.');
    expect(said).toContain('The patient was told about the results on Monday.');
    expect(report.verdict.outcome).toBe('leaks');
    expect(report.findings.map(({ id, severity }) => [id, severity])).toContainEqual(['texts-recovered', 'high']);
    expect(renderReport(report)).toContain('The patient was told about the results on Monday.');
  });

  it('are read where they begin alike, with keys shared by heads, and with a prompt that has no loss', async () => {
    const report = await auditOf(join(FIXTURES, 'llama'));
    expect(idsOf(report)).toEqual(expected('llama'));
    expect(leakOf(report)!.certificate).toMatchObject({ by: 'gradient', verdict: 'exact' });
  });

  it('are told apart where one is the beginning of another, and counted', async () => {
    const report = await auditOf(join(FIXTURES, 'beginnings'));
    const [first, other, twice] = expected('beginnings');
    expect(idsOf(report)).toEqual([first, other, twice]);
    expect(leakOf(report)).toMatchObject({ certificate: { verdict: 'exact' }, gives: { inputs: 4, tokens: 21 } });
    expect(detailOf(report).texts.filter(({ label }) => label?.startsWith('2 times'))).toHaveLength(1);
  });

  it('are read where the first token is repeated and positions are rotations', async () => {
    const report = await auditOf(join(FIXTURES, 'repetitions'));
    expect(idsOf(report)).toEqual(expected('repetitions'));
    expect(leakOf(report)!.certificate).toMatchObject({ by: 'gradient', verdict: 'exact' });
  });

  it('are read where one token is repeated so often that the outputs of its attention are all but dependent', async () => {
    const report = await auditOf(join(FIXTURES, 'runs'));
    expect(idsOf(report)).toEqual(expected('runs'));
    expect(leakOf(report)!.certificate).toMatchObject({ by: 'gradient', verdict: 'exact' });
  });

  it('are only candidates where the last token follows such a repetition at once', async () => {
    const report = await auditOf(join(FIXTURES, 'repetitions-open'));
    expect(leakOf(report)).toMatchObject({ certificate: { verdict: 'uncertain' } });
    expect(report.findings.map(({ id }) => id)).not.toContain('texts-recovered');
    expect(renderReport(report)).toMatch(/repeat\s+the\s+first\s+one/);
  });

  it('are read where padding behind them has a loss', async () => {
    const report = await auditOf(join(FIXTURES, 'padded'));
    expect(idsOf(report)).toEqual(expected('padded'));
    expect(leakOf(report)!.certificate).toMatchObject({ by: 'gradient', verdict: 'exact' });
    const labels = detailOf(report)
      .texts.map(({ label }) => label)
      .sort();
    expect(labels.filter((label) => label?.startsWith('padded with'))).toEqual([
      'padded with 3 times the token 0',
      'padded with 4 times the token 0',
    ]);
  });

  it.each([
    ['alone, asked for the first token, at positions of its own', 'gpt2-left', 119],
    ['all of it with a loss', 'gpt2-left-loss', 119],
    ['where positions are rotations', 'llama-left', 3],
  ])('are read where padding stands before all of them, %s', async (_, name, token) => {
    const report = await auditOf(join(FIXTURES, name));
    expect(idsOf(report)).toEqual(expected(name));
    expect(leakOf(report)!.certificate).toMatchObject({ by: 'gradient', verdict: 'exact' });
    const labels = detailOf(report).texts.map(({ label }) => label);
    expect(labels).toEqual([0, 1, 2].map(() => `padded before its start with the token ${token}`));
  });

  it('are read where one token within has no gradient of its own', async () => {
    const report = await auditOf(join(FIXTURES, 'hidden'));
    expect(idsOf(report)).toEqual(expected('hidden'));
    expect(leakOf(report)!.certificate).toMatchObject({ by: 'gradient', verdict: 'exact' });
  });

  it('are not claimed where the head tells no next token', async () => {
    const folder = changed('llama', 'gradient', (data, name) => (name === 'lm_head.weight' ? data.fill(0) : data));
    const report = await auditOf(folder);
    expect(leakOf(report)).toBeUndefined();
    expect(rowOf(report).detail).toContain('no token after');
  });

  it('of one token leave no gradient, which is said', async () => {
    const report = await auditOf(changed('gpt2', 'gradient', (data) => data.fill(0)));
    expect(rowOf(report)).toMatchObject({ outcome: 'nothing', detail: expect.stringContaining('is zero') as string });
  });

  it.each(['gpt2', 'llama'])('are read below noise: %s', async (name) => {
    const random = generator(5);
    const folder = changed(name, 'gradient', (data, _, deviation) =>
      data.map((value) => value + 1e-5 * deviation * gaussian(random)),
    );
    const report = await auditOf(folder);
    expect(idsOf(report)).toEqual(expected(name));
    expect(leakOf(report)!.certificate!.error).toBeGreaterThan(5e-6);
  });

  it.each(['gpt2', 'llama'])('are not claimed where noise hides them: %s', async (name) => {
    const random = generator(6);
    const folder = changed(name, 'gradient', (data, _, deviation) =>
      data.map((value) => value + 0.03 * deviation * gaussian(random)),
    );
    const report = await auditOf(folder);
    expect(report.findings.map(({ id }) => id)).not.toContain('texts-recovered');
    expect(rowOf(report).outcome).toBe('nothing');
    expect(rowOf(report).detail).toMatch(/noise/);
  });

  it('are not claimed with another checkpoint than the gradient is of', async () => {
    const random = generator(7);
    const folder = changed('gpt2', 'checkpoint', (data, _, deviation) =>
      data.map((value) => value + 0.3 * deviation * gaussian(random)),
    );
    const report = await auditOf(folder);
    expect(leakOf(report)).toBeUndefined();
    expect(rowOf(report).detail).toContain('another checkpoint');
  });

  it('are not claimed where only the later blocks are of another checkpoint', async () => {
    const random = generator(8);
    const folder = changed('gpt2', 'checkpoint', (data, name, deviation) =>
      name.includes('h.1.') ? data.map((value) => value + 0.1 * deviation * gaussian(random)) : data,
    );
    const report = await auditOf(folder);
    expect(leakOf(report)).toMatchObject({ certificate: { by: 'gradient', verdict: 'uncertain' } });
    expect(report.findings.map(({ id }) => id)).not.toContain('texts-recovered');
    expect(renderReport(report)).toContain('candidates');
  });

  it('are told without their last token where the head is withheld', async () => {
    const folder = changed('llama', 'gradient', (data, name) => (name === 'lm_head.weight' ? undefined : data));
    const report = await auditOf(folder);
    const heads = expected('llama').map((tokens) => tokens.slice(0, -1));
    expect(idsOf(report)).toEqual(heads);
    expect(leakOf(report)!.certificate).toMatchObject({ by: 'equations', verdict: 'exact' });
    expect(detailOf(report).texts[0]!.label).toContain('last token');
  });

  it('are not read where the first attention is withheld, which is said', async () => {
    const folder = changed('gpt2', 'gradient', (data, name) => (name.includes('h.0.attn') ? undefined : data));
    const report = await auditOf(folder);
    expect(leakOf(report)).toBeUndefined();
    expect(rowOf(report)).toMatchObject({
      outcome: 'not-applicable',
      detail: expect.stringContaining('not there') as string,
    });
  });

  it('stop when they are asked to', async () => {
    let calls = 0;
    const folder = join(FIXTURES, 'gpt2');
    const result = runAudit(
      {
        checkpoint: join(folder, 'checkpoint.safetensors'),
        gradients: join(folder, 'gradient.safetensors'),
        method: 'auto',
      },
      {
        progress: () => undefined,
        pause: () => (++calls > 60 ? Promise.reject(new CancelledError()) : Promise.resolve()),
      },
    );
    const { report } = await result;
    expect(report.findings.map(({ id }) => id)).not.toContain('texts-recovered');
    expect(calls).toBeLessThan(80);
  });
});
