import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { renderReport } from '../../../src/cli/render-text.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import type { AuditRequest } from '../../../src/protocol/audit-request.js';
import type { CaptureFile } from '../../../src/protocol/capture-file.js';
import { CancelledError } from '../../../src/protocol/errors.js';
import type { Report } from '../../../src/protocol/report.js';
import { nearestImages } from '../../recovered-images.js';
import { readTensors } from '../../networks.js';
import { writeSafetensors } from '../../write-fixtures.js';

/** A client of PyTorch's that saw eight digits in four batches, once each (make_client_fixtures.py); the truth only measures. */

const CLIENT = join(import.meta.dirname, '..', '..', 'fixtures', 'clients', 'one-epoch');
const quiet = { progress: () => undefined, pause: () => Promise.resolve() };
const IMAGES: Partial<AuditRequest> = {
  reconstruction: { attack: 'chain', preset: 'soft-label', engine: 'onnxruntime-cpu', timeLimitSeconds: 60 },
};

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradleak-client-samples-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

async function audited(from: string, more: Partial<AuditRequest> = {}): Promise<Report> {
  return (await runAudit({ ...pathsInFolder(from), method: 'auto', ...more }, quiet)).report;
}

/** The client with other notes, or with weights that a rule changes. */
function changed(notes: Partial<CaptureFile>, after?: (value: number, at: number) => number): string {
  const own = JSON.parse(readFileSync(join(CLIENT, 'capture.json'), 'utf8')) as CaptureFile;
  writeFileSync(join(folder, 'capture.json'), JSON.stringify({ ...own, ...notes }));
  copyFileSync(join(CLIENT, 'checkpoint.pt'), join(folder, 'checkpoint.pt'));
  if (!after) {
    copyFileSync(join(CLIENT, 'after.pt'), join(folder, 'after.pt'));
    return folder;
  }
  const tensors = [...readTensors(join(CLIENT, 'after.pt'))].map(([name, { shape, data }]) => [
    name,
    { shape: [...shape], data: Float32Array.from(data, after) },
  ]);
  writeSafetensors(
    join(folder, 'after.safetensors'),
    Object.fromEntries(tensors) as Parameters<typeof writeSafetensors>[1],
  );
  return folder;
}

const leakOf = ({ leaks }: Report) => leaks.find(({ method }) => method === 'client-samples');
const rowOf = ({ methods }: Report) => methods!.find(({ id }) => id === 'client-samples');

function classesOf(report: Report): string[] {
  const table = leakOf(report)!.details.find((own) => own.type === 'table');
  return table!.rows.map(({ cells }) => cells[1]!).sort();
}

describe('samples of a client of one epoch', () => {
  it('are told apart with their labels, and images have their features', async () => {
    const out = join(folder, 'out');
    const report = await audited(CLIENT, { ...IMAGES, out });
    const truth = JSON.parse(readFileSync(join(CLIENT, 'expected.json'), 'utf8')) as {
      labels: number[];
      images: number[][];
    };
    expect(classesOf(report)).toEqual(truth.labels.map((label) => `class ${label}`));
    expect(rowOf(report)).toMatchObject({
      outcome: 'found',
      detail: '`4.weight` tells 8 of 8 samples apart, and images of 8 follow.',
    });
    expect(leakOf(report)).toMatchObject({
      tensor: '4.weight',
      amount: '8 samples',
      certificate: { by: 'equations', verdict: 'close' },
      // Images explain features, and nothing confirms them.
      gives: { inputs: 0 },
    });
    expect(report.findings.map(({ id, severity }) => [id, severity])).toContainEqual(['client-samples-told', 'high']);
    const nearest = nearestImages(out, 'client-image', truth.images);
    expect(new Set(nearest.map(({ which }) => which)).size).toBe(8);
    expect(Math.min(...nearest.map(({ psnr }) => psnr))).toBeGreaterThan(40);
    expect(report.verdict.sentence).toContain('labels and features of 8 samples');
    expect(renderReport(report)).toContain('4.weight tells 8 of 8 samples apart');
  });

  it('are told without images where none were asked for', async () => {
    const report = await audited(CLIENT);
    expect(classesOf(report)).toHaveLength(8);
    expect(leakOf(report)!.details.some(({ type }) => type === 'picture')).toBe(false);
  });

  it.each<[string, Partial<CaptureFile>, RegExp]>([
    ['several epochs', { local_epochs: 3, local_steps: 12 }, /Over 3 epochs/],
    ['momentum', { momentum: 0.9 }, /Momentum and weight decay/],
    ['no learning rate', { learning_rate: null }, /stated in full/],
  ])('are not looked for with %s', async (_, notes, why) => {
    const report = await audited(changed(notes));
    expect(leakOf(report)).toBeUndefined();
    expect(rowOf(report)).toMatchObject({ outcome: 'not-applicable', detail: expect.stringMatching(why) as string });
  });

  it.each<[string, Partial<CaptureFile>]>([
    ['ten times as large', { learning_rate: 0.2 }],
    ['of half as many samples', { samples: 4 }],
    ['of batches twice as large', { batch_size: 4 }],
  ])('are not told where the training is stated %s', async (_, notes) => {
    const report = await audited(changed(notes));
    expect(leakOf(report)).toBeUndefined();
    expect(rowOf(report)).toMatchObject({ outcome: 'nothing' });
  });

  it('are not told where noise hides the samples', async () => {
    const noisy = changed({}, (value, at) => value + 1e-3 * Math.sin(12.9898 * at * at));
    const report = await audited(noisy);
    expect(leakOf(report)).toBeUndefined();
  });

  it('stops where asked to', async () => {
    let stops = 0;
    const hooks = {
      progress: ({ message }: { message: string }) => {
        stops += Number(message.startsWith('Computing image'));
      },
      pause: () => (stops > 2 ? Promise.reject(new CancelledError()) : Promise.resolve()),
    };
    const { report } = await runAudit({ ...pathsInFolder(CLIENT), method: 'auto', ...IMAGES }, hooks);
    expect(report.cancelled).toBe(true);
    expect(classesOf(report)).toHaveLength(8);
  });
});
