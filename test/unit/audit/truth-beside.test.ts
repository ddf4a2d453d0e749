import { copyFileSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import { renderReport } from '../../../src/cli/render-text.js';
import type { Report } from '../../../src/protocol/report.js';

const DUMP = join(import.meta.dirname, '..', '..', 'fixtures', 'dumps', 'k10_hard_bias_default');
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };

function copied(): string {
  const folder = mkdtempSync(join(tmpdir(), 'gradleak-truth-'));
  const { checkpoint, gradients } = pathsInFolder(DUMP);
  for (const path of [checkpoint, gradients]) {
    copyFileSync(path, join(folder, path.split(/[\\/]/).at(-1)!));
  }
  return folder;
}

async function audited(folder: string): Promise<Report> {
  return (await runAudit({ ...pathsInFolder(folder), method: 'auto' }, hooks)).report;
}

describe('a truth that lies beside a gradient', () => {
  it('is compared with, and the report says that it took no part', async () => {
    const report = await audited(DUMP);
    expect(report.truth).toMatchObject({ found: true, samples: [{ labelMaxError: 0 }] });
    expect(renderReport(report)).toContain('found beside the file; it took no part');
  });

  it('changes nothing of what was found', async () => {
    const folder = copied();
    const [without, given] = [await audited(folder), await audited(DUMP)];
    expect(without.truth).toBeUndefined();
    expect(without.samples).toEqual(given.samples);
    expect(without.verdict).toEqual(given.verdict);
  });

  it.each(['{', '[1]', '{"labels": "seven"}'])('and cannot be read is said, and ends no audit: %s', async (text) => {
    const folder = copied();
    writeFileSync(join(folder, 'truth.json'), text);
    const report = await audited(folder);
    expect(report.truth).toBeUndefined();
    expect(report.verdict.outcome).toBe('leaks');
    expect(report.consistency.at(-1)).toMatchObject({ id: 'truth', status: 'warn' });
  });
});
