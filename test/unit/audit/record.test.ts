import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { partsOf } from '../../../src/audit/input-files.js';
import { METHODS } from '../../../src/audit/registry.js';
import { runAudit } from '../../../src/audit/run-audit.js';
import { upgradeReport } from '../../../src/audit/upgrade-report.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import { contentHashIfAny } from '../../../src/formats/content-hash.js';
import type { AuditStage } from '../../../src/protocol/audit-request.js';
import { CancelledError } from '../../../src/protocol/errors.js';
import type { Report } from '../../../src/protocol/report.js';
import { limitsInWords } from '../../../src/words/record-words.js';

/** What a report says of itself: when it was made, from which files, on what its methods rest, and what it does not tell. */

const ROOT = join(import.meta.dirname, '..', '..', '..');
const DUMP = join(ROOT, 'test', 'fixtures', 'dumps', 'k10_hard_bias_default');
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-record-'));
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');

function copyOf(name: string): string {
  const folder = join(scratch, name);
  cpSync(DUMP, folder, { recursive: true });
  return folder;
}

/** An audit that is cancelled when its stage is reached. */
async function auditUntil(folder: string, stage: AuditStage): Promise<Report> {
  let isOver = false;
  const { report } = await runAudit(
    { ...pathsInFolder(folder), method: 'auto' },
    {
      progress: (own) => {
        isOver ||= own.stage === stage;
      },
      pause: () => (isOver ? Promise.reject(new CancelledError()) : Promise.resolve()),
    },
  );
  return report;
}

describe('the record of an audit', () => {
  it('names every file that was read, by its contents', async () => {
    const folder = copyOf('whole');
    writeFileSync(join(folder, 'classes.txt'), Array.from({ length: 10 }, (_, at) => `name ${at}\n`).join(''));
    writeFileSync(join(folder, 'unread.txt'), 'nothing of the audit');
    const before = Date.now();
    const { report } = await runAudit({ ...pathsInFolder(folder), method: 'auto' }, hooks);
    const { checkpoint, gradients } = pathsInFolder(folder);
    const wanted = [
      ['gradient', gradients],
      ['checkpoint', checkpoint],
      ['beside', join(folder, 'classes.txt')],
      ['truth', join(folder, 'truth.json')],
    ] as const;
    const files = report.inputs.files ?? [];
    for (const [role, path] of wanted) {
      expect(files).toContainEqual({ role, path, bytes: readFileSync(path).length, sha256: sha256(path) });
    }
    expect(files.filter(({ path }) => path.endsWith('unread.txt'))).toEqual([]);
    expect(new Set(files.map(({ path }) => path)).size).toBe(files.length);
    expect(Date.parse(report.finished ?? '')).toBeGreaterThanOrEqual(before);
    const stored = JSON.parse(JSON.stringify(report)) as Report;
    expect(upgradeReport(stored)).toBe(stored);
  });

  it('an index stands for its shards too', () => {
    const folder = join(scratch, 'whole');
    const index = join(folder, 'model.safetensors.index.json');
    writeFileSync(index, JSON.stringify({ weight_map: { a: 'one.safetensors', b: 'two.safetensors', c: '../three' } }));
    expect(partsOf(index)).toEqual([index, join(folder, 'one.safetensors'), join(folder, 'two.safetensors')]);
  });

  it('keeps what was found when it is stopped while files are hashed, and says what is missing', async () => {
    const report = await auditUntil(copyOf('stopped'), 'write');
    expect(report.cancelled).toBe(true);
    expect(report.samples).toHaveLength(1);
    expect(report.inputs.files).toBeUndefined();
    expect(limitsInWords(report)).toEqual(
      expect.arrayContaining([
        'The audit was stopped before its end: what it had not yet done is missing.',
        'The files’ hashes were not computed, so nothing here proves which files were read.',
      ]),
    );
  });

  it('a folder, or what else is no file, has no contents', async () => {
    expect(await contentHashIfAny(scratch, hooks.pause)).toBeNull();
    expect(await contentHashIfAny('/dev/null', hooks.pause)).toBeNull();
    expect(await contentHashIfAny(join(scratch, 'nowhere'), hooks.pause)).toBeNull();
  });

  it('every method says what it rests on, and the report passes it on', async () => {
    const { report } = await runAudit({ ...pathsInFolder(DUMP), method: 'auto' }, hooks);
    for (const { id, assumes } of METHODS) {
      expect(assumes, id).toMatch(/^[a-z].{30,}\.$/);
    }
    for (const { id, assumes } of report.methods ?? []) {
      expect(assumes).toBe(METHODS.find((own) => own.id === id)?.assumes);
    }
  });

  it('tells of a gradient alone that the weights are missing', async () => {
    const { gradients } = pathsInFolder(DUMP);
    const { report } = await runAudit({ gradients, method: 'auto' }, hooks);
    expect(limitsInWords(report).join(' ')).toContain('No checkpoint was given');
    expect(report.inputs.files?.map(({ role }) => role)).not.toContain('checkpoint');
  });
});
