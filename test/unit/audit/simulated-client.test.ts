import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import type { AuditRequest, ReconstructionRequest } from '../../../src/protocol/audit-request.js';
import type { CaptureFile } from '../../../src/protocol/capture-file.js';
import { CancelledError } from '../../../src/protocol/errors.js';
import type { Report } from '../../../src/protocol/report.js';
import { nearestImages } from '../../recovered-images.js';

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

describe('images of a client of several epochs', () => {
  it('are searched, and called what they are: not confirmed', async () => {
    const out = join(folder, 'out');
    const report = await audited(CLIENT, { out });
    const truth = JSON.parse(readFileSync(join(CLIENT, 'expected.json'), 'utf8')) as { images: number[][] };
    const nearest = nearestImages(out, 'searched-image', truth.images);
    expect(new Set(nearest.map(({ which }) => which)).size).toBe(4);
    // Those that the searches found most alike come first.
    expect(Math.min(...nearest.slice(0, 2).map(({ psnr }) => psnr))).toBeGreaterThan(20);
    const leak = leakOf(report)!;
    expect(leak).toMatchObject({ certificate: { verdict: 'uncertain' }, gives: { inputs: 0 } });
    const words = JSON.stringify(leak.details);
    expect(words).toContain('each of 3 searches drew one at random');
    expect(words).toContain('Inputs were taken to be');
    expect(words).toContain('which nobody stated');
    expect(leak.details.flatMap((own) => (own.type === 'picture' ? [own.title] : []))).toEqual(
      Array.from(
        { length: 4 },
        (_, at) => expect.stringMatching(`^Image ${at + 1}: class \\d, not confirmed$`) as string,
      ),
    );
    expect(report.findings.map(({ id, severity }) => [id, severity])).toContainEqual(['client-images-searched', 'low']);
    expect(rowOf(report)).toMatchObject({ outcome: 'estimated' });
    // Classes are what leaks for sure; images that nothing confirms are no part of the verdict.
    expect(report.verdict.sentence).not.toContain('image');
    expect(report.network).toMatchObject({ source: 'onnx' });
  });

  it('are taken as they were stated to be normalised', async () => {
    const report = await audited(CLIENT, { reconstruction: { ...IMAGES, normalisation: null } });
    expect(JSON.stringify(leakOf(report)!.details)).toContain(
      'Inputs were taken to be between 0 and 1, as was stated.',
    );
  });

  it('are not shown where a rate ten times as large is stated', async () => {
    const report = await audited(stated({ learning_rate: 0.2 }));
    expect(leakOf(report)).toBeUndefined();
    expect(rowOf(report)).toMatchObject({
      outcome: 'nothing',
      detail: expect.stringContaining('stays unexplained') as string,
    });
  });

  it('are no leak where the training was stated a little wrongly', async () => {
    const report = await audited(stated({ learning_rate: 0.025 }));
    expect(report.findings.filter(({ id }) => id === 'client-images-searched').map(({ severity }) => severity)).toEqual(
      ['low'],
    );
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
    expect(rowOf(report)!.detail).toContain('one by one');
  });

  it('are kept as far as the first search was when it is stopped', async () => {
    let isLate = false;
    const hooks = {
      progress: ({ message }: { message: string }) => {
        isLate ||= message.startsWith('Simulating the client, search 2');
      },
      pause: () => (isLate ? Promise.reject(new CancelledError()) : Promise.resolve()),
    };
    const { report } = await runAudit({ ...pathsInFolder(CLIENT), method: 'auto', reconstruction: IMAGES }, hooks);
    expect(report.cancelled).toBe(true);
    expect(leakOf(report)!.details.filter(({ type }) => type === 'picture')).toHaveLength(4);
    const words = JSON.stringify(leakOf(report)!.details);
    expect(words).toContain('the search drew one at random');
    expect(words).not.toContain('alike follow');
    expect(report.findings.map(({ id, severity }) => [id, severity])).toContainEqual(['client-images-searched', 'low']);
  });
});
