import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { findTraps } from '../../../src/methods/imprint-trap/traps.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import { runAudit } from '../../../src/audit/run-audit.js';
import { openTensorFile } from '../../../src/formats/open.js';
import type { LeakReport, Report } from '../../../src/protocol/report.js';
import { findTrap } from '../../../src/recovery/imprint.js';

/** What leaks beside the head: embeddings, and traps of a malicious server. */

const LEAKS = join(import.meta.dirname, '..', '..', 'fixtures', 'leaks');
const DUMPS = join(LEAKS, '..', 'dumps');
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-leaks-'));
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

interface Expected {
  tokens: number[];
  positions: number[];
  items: number[];
  inputs: number[][];
}

function expected(name: string): Expected {
  return JSON.parse(readFileSync(join(LEAKS, name, 'expected.json'), 'utf8')) as Expected;
}

async function audit(folder: string, out?: string): Promise<Report> {
  const request = { ...pathsInFolder(folder), method: 'auto' as const, ...(out === undefined ? {} : { out }) };
  return (await runAudit(request, hooks)).report;
}

const leaksOf = (report: Report, method: string): LeakReport[] => report.leaks.filter((leak) => leak.method === method);

function listed({ details }: LeakReport): { text: string; hint?: string }[] {
  return details.flatMap((detail) => (detail.type === 'tokens' ? detail.tokens : []));
}

describe('embeddings', () => {
  it('give away the tokens, with their texts, beside the label', async () => {
    const report = await audit(join(LEAKS, 'language'));
    const truth = expected('language');
    const [tokens, positions] = leaksOf(report, 'embedding-rows');
    expect(tokens).toMatchObject({
      tensor: 'tokens.weight',
      what: `tokens.weight: ${truth.tokens.length} of 300 tokens occur`,
      gives: { tokens: truth.tokens.length, inputs: 0 },
    });
    expect(listed(tokens!).map(({ hint }) => hint)).toEqual(truth.tokens.map((id) => `id ${id}`));
    expect(listed(tokens!).map(({ text }) => text)).toEqual(['<eos>', 'word7', ' secret', 'word250']);
    expect(positions).toMatchObject({ title: 'Positions of the batch', gives: { tokens: 0, inputs: 0 } });
    expect(listed(positions!).map(({ text }) => Number(text))).toEqual(truth.positions);
    expect(report.verdict.outcome).toBe('leaks');
    expect(report.samples[0]!.label.classes[0]!.index).toBe(2);
    const finding = report.findings.find(({ id }) => id === 'embedding-tokens');
    expect(finding).toMatchObject({ severity: 'high' });
    expect(finding!.evidence).toContain('" secret"');
  });

  it('leak also where there is no classifier head', async () => {
    const report = await audit(join(LEAKS, 'recommender'), join(scratch, 'recommender'));
    expect(report.head).toBeNull();
    expect(listed(report.leaks[0]!).map(({ text }) => Number(text))).toEqual(expected('recommender').items);
    expect(report.verdict.sentence).toContain('3 tokens or items');
  });

  it('are not seen where there are none', async () => {
    expect(leaksOf(await audit(join(DUMPS, 'k100_mixup_bias_default')), 'embedding-rows')).toEqual([]);
  });
});

describe('traps', () => {
  it('are found in the checkpoint alone, and nowhere else', () => {
    const of = (folder: string): string[] => {
      const file = openTensorFile(pathsInFolder(folder).checkpoint);
      try {
        return findTraps(file);
      } finally {
        file.close();
      }
    };
    expect(of(join(LEAKS, 'imprint'))).toEqual(['trap.weight']);
    for (const name of ['k100_mixup_bias_default', 'k10_hard_bias_default', 'in_module', 'in_strided']) {
      expect(of(join(DUMPS, name)), name).toEqual([]);
    }
    expect(of(join(LEAKS, 'language'))).toEqual([]);
  });

  it('give away the inputs in them, exactly', async () => {
    const out = join(scratch, 'imprint');
    const report = await audit(join(LEAKS, 'imprint'), out);
    const [imprint] = leaksOf(report, 'imprint-trap');
    const truth = expected('imprint').inputs;
    expect(imprint).toMatchObject({ tensor: 'trap.weight', files: ['imprint-0.npy'] });
    expect(imprint!.what).toContain('64 bins');
    expect(imprint!.details).toMatchObject([
      { type: 'text', text: expect.stringContaining('its 48 numbers') as string },
    ]);
    expect(imprint!.gives.inputs).toBe(truth.length);
    const file = openTensorFile(join(out, 'imprint-0.npy'));
    const { data } = file.read(file.entries[0]!.name);
    file.close();
    const distances = truth.map((input) =>
      Math.min(
        ...Array.from({ length: truth.length }, (_, at) =>
          Math.max(...input.map((value, k) => Math.abs(value - data[at * 48 + k]!))),
        ),
      ),
    );
    expect(Math.max(...distances)).toBeLessThan(1e-3);
    expect(report.findings[0]).toMatchObject({ id: 'imprint-inputs', severity: 'critical' });
  });

  it('need like rows and thresholds in order', () => {
    const rows = 16;
    const weight = { rows, cols: 3, data: new Float64Array(3 * rows).fill(0.5) };
    const rising = Float64Array.from({ length: rows }, (_, row) => row / rows);
    expect(findTrap(weight, rising)).toMatchObject({ spread: 0 });
    expect(findTrap(weight, new Float64Array(rows))).toBeUndefined();
    expect(
      findTrap(
        weight,
        rising.map((value, row) => (row === 3 ? 5 : value)),
      ),
    ).toBeUndefined();
    expect(findTrap({ ...weight, data: weight.data.map((value, at) => value + (at % 5)) }, rising)).toBeUndefined();
    expect(findTrap({ ...weight, data: new Float64Array(3 * rows) }, rising)).toBeUndefined();
  });
});
