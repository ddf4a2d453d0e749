import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import { openTensorFile } from '../../../src/formats/open.js';
import type { AuditRequest, ReconstructionRequest } from '../../../src/protocol/audit-request.js';
import type { CaptureFile } from '../../../src/protocol/capture-file.js';
import { CancelledError } from '../../../src/protocol/errors.js';
import type { Report } from '../../../src/protocol/report.js';

/** Images of a client of two epochs, four digits in batches of two, as PyTorch trained it. */
const CLIENT = resolve('test', 'fixtures', 'clients', 'two-epochs');
const quiet = { progress: () => undefined, pause: () => Promise.resolve() };
const IMAGES: ReconstructionRequest = {
  attack: 'auto',
  preset: 'soft-label',
  engine: 'onnxruntime-cpu',
  timeLimitSeconds: 120,
};

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradleak-simulated-client-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

async function audited(from: string, more: Partial<AuditRequest> = {}): Promise<Report> {
  return (await runAudit({ ...pathsInFolder(from), method: 'auto', reconstruction: IMAGES, ...more }, quiet)).report;
}

function stated(notes: Partial<CaptureFile>): string {
  const own = join(folder, 'client');
  cpSync(CLIENT, own, { recursive: true });
  const capture = JSON.parse(readFileSync(join(own, 'capture.json'), 'utf8')) as CaptureFile;
  writeFileSync(join(own, 'capture.json'), JSON.stringify({ ...capture, ...notes }));
  return own;
}

const leakOf = ({ leaks }: Report) => leaks.find(({ method }) => method === 'simulated-client');
const rowOf = ({ methods }: Report) => methods!.find(({ id }) => id === 'simulated-client');

function imageAt(path: string): Float64Array {
  const file = openTensorFile(path);
  try {
    return file.read(file.entries[0]!.name).data;
  } finally {
    file.close();
  }
}

describe('images of a client of several epochs', () => {
  it('are searched, and those that searches agree on are the client’s', async () => {
    const out = join(folder, 'out');
    const report = await audited(CLIENT, { out });
    const truth = JSON.parse(readFileSync(join(CLIENT, 'expected.json'), 'utf8')) as { images: number[][] };
    const nearest = Array.from({ length: 4 }, (_, at) => {
      const found = imageAt(join(out, `searched-image-${at}.npy`));
      const errors = truth.images.map((own) => own.reduce((sum, value, k) => sum + (value - found[k]!) ** 2, 0) / 64);
      const least = Math.min(...errors);
      return { which: errors.indexOf(least), psnr: -10 * Math.log10(least) };
    });
    expect(new Set(nearest.map(({ which }) => which)).size).toBe(4);
    const table = leakOf(report)!.details.find((own) => own.type === 'table')!;
    const agreed = table.rows.filter(({ cells }) => Number(cells[2]) >= 0.965).length;
    expect(agreed).toBeGreaterThanOrEqual(2);
    expect(Math.min(...nearest.slice(0, agreed).map(({ psnr }) => psnr))).toBeGreaterThan(20);
    expect(leakOf(report)).toMatchObject({ certificate: { verdict: 'uncertain' }, gives: { inputs: 0 } });
    expect(report.findings.map(({ id, severity }) => [id, severity])).toContainEqual([
      'client-images-searched',
      'medium',
    ]);
    expect(rowOf(report)!.detail).toMatch(/^Searches in different orders of samples agree on [234] of 4 images/);
    expect(report.network).toMatchObject({ source: 'onnx' });
  });

  it.each<[string, Partial<CaptureFile>]>([
    ['a rate ten times as large', { learning_rate: 0.2 }],
    ['a rate twice as large', { learning_rate: 0.04 }],
  ])('are not told where %s is stated', async (_, notes) => {
    const report = await audited(stated(notes));
    expect(leakOf(report)).toBeUndefined();
    expect(rowOf(report)).toMatchObject({ outcome: 'nothing' });
  });

  it('are not searched with momentum, in too little time, or where none were asked for', async () => {
    const withMomentum = await audited(stated({ momentum: 0.9 }));
    expect(rowOf(withMomentum)!.detail).toContain('without momentum');
    const soon = await audited(CLIENT, { reconstruction: { ...IMAGES, timeLimitSeconds: 0.05 } });
    expect(rowOf(soon)).toMatchObject({
      outcome: 'not-applicable',
      detail: expect.stringContaining('0.05 s') as string,
    });
    for (const attack of ['none', 'chain'] as const) {
      expect(rowOf(await audited(CLIENT, { reconstruction: { ...IMAGES, attack } }))).toBeUndefined();
    }
  });

  it('are not searched where samples were told one by one', async () => {
    const report = await audited(resolve('test', 'fixtures', 'clients', 'one-epoch'));
    expect(rowOf(report)!.detail).toContain('sample by sample');
  });

  it('are kept as far as the first search was when it is stopped', async () => {
    const hooks = {
      progress: ({ message }: { message: string }) => {
        isLate ||= message.startsWith('Simulating the client, search 2');
      },
      pause: () => (isLate ? Promise.reject(new CancelledError()) : Promise.resolve()),
    };
    let isLate = false;
    const { report } = await runAudit({ ...pathsInFolder(CLIENT), method: 'auto', reconstruction: IMAGES }, hooks);
    expect(report.cancelled).toBe(true);
    expect(leakOf(report)!.details.filter(({ type }) => type === 'picture')).toHaveLength(4);
    // A single search agrees with itself only.
    expect(report.findings.map(({ id, severity }) => [id, severity])).toContainEqual(['client-images-searched', 'low']);
  });
});
