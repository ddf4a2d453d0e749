import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import type { AuditRequest } from '../../../src/protocol/audit-request.js';
import type { CaptureFile } from '../../../src/protocol/capture-file.js';
import type { Report } from '../../../src/protocol/report.js';
import { cli } from '../../run-cli.js';

/** A client of three epochs that PyTorch trained (test/fixtures/make_client_fixtures.py): five samples of class 3, four of 8. */

const CLIENTS = join(import.meta.dirname, '..', '..', 'fixtures', 'clients');
const CLIENT = join(CLIENTS, 'several-epochs');
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };
const LINE = 'lr=0.02,momentum=0.5,epochs=3,batch-size=4,samples=12';
const TRAINING = { learningRate: 0.02, momentum: 0.5, epochs: 3, batchSize: 4, samples: 12 };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradleak-client-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

async function audited(from: string, more: Partial<AuditRequest> = {}): Promise<Report> {
  return (await runAudit({ ...pathsInFolder(from), method: 'auto', ...more }, hooks)).report;
}

/** The same with other notes. */
function noted(change: Partial<CaptureFile>): string {
  const notes = JSON.parse(readFileSync(join(CLIENT, 'capture.json'), 'utf8')) as CaptureFile;
  copyFileSync(join(CLIENT, 'checkpoint.pt'), join(folder, 'checkpoint.pt'));
  copyFileSync(join(CLIENT, 'after.pt'), join(folder, 'after.pt'));
  writeFileSync(join(folder, 'capture.json'), JSON.stringify({ ...notes, ...change }));
  return folder;
}

const rowOf = ({ methods = [] }: Report, id: string): string | undefined =>
  methods.find((method) => method.id === id)?.detail;

describe('classes of a client that made several steps', () => {
  it('are told, with the least that each occurs', async () => {
    const report = await audited(CLIENT);
    expect(report.update).toMatchObject({ kind: 'several-steps' });
    expect(report.findings).toEqual([
      expect.objectContaining({
        id: 'client-classes-computed',
        severity: 'medium',
        evidence: expect.stringContaining('class 3 (at least 4) and class 8 (at least 2) of 12 samples') as string,
      }),
    ]);
    expect(report.leaks[0]?.details[1]).toMatchObject({
      type: 'table',
      rows: [
        { cells: ['class 3', '4', '5'] },
        { cells: ['class 8', '2', '4'] },
        { cells: ['class 1', '0', '1'] },
        { cells: ['class 5', '0', '1'] },
        { cells: ['class 6', '0', '1'] },
      ],
    });
    expect(report.verdict).toEqual({
      outcome: 'leaks',
      sentence:
        "Samples were not read from the head: this is the difference of weights over several steps, which the head’s methods do not take apart. It gives away that class 3 and class 8 occur in the client's data.",
    });
    expect(report.samples).toEqual([]);
    expect(rowOf(report, 'all')).toMatch(/do not take apart/);
  });

  it('are an estimate where momentum is not stated', async () => {
    const report = await audited(noted({ momentum: null, learning_rate: 0.04 }));
    expect(report.verdict.outcome).toBe('not-assessed');
    expect(report.findings).toMatchObject([{ id: 'client-counts-estimated', severity: 'low' }]);
    expect(report.findings[0]?.evidence).toContain('momentum was not stated');
  });

  it('are an estimate where a dropped last batch leaves the epochs open', async () => {
    const report = await audited(noted({ samples: 15, local_epochs: null, local_steps: 12 }));
    expect(report.findings).toMatchObject([{ id: 'client-counts-estimated', severity: 'low' }]);
    expect(report.findings[0]?.evidence).toContain('the number of epochs was not stated');
  });

  it('are an estimate where only the order of the files tells which came first', async () => {
    copyFileSync(join(CLIENT, 'checkpoint.pt'), join(folder, 'later.pt'));
    copyFileSync(join(CLIENT, 'after.pt'), join(folder, 'first.pt'));
    const files = { checkpoint: join(folder, 'first.pt'), gradients: join(folder, 'later.pt') };
    const { findings } = (await runAudit({ ...files, method: 'auto', training: TRAINING }, hooks)).report;
    expect(findings).toMatchObject([{ id: 'client-counts-estimated', severity: 'low' }]);
    expect(findings[0]?.evidence).toContain('files that were exchanged would give other classes');
  });

  it.each<[string, Partial<CaptureFile>, RegExp]>([
    ['a rate that the numbers contradict', { learning_rate: 0.001 }, /needs more than the 12 samples that are stated/],
    ['an optimiser that keeps no sums', { optimiser: 'Adam' }, /The optimiser is stated as "Adam"/],
    ['no learning rate', { learning_rate: null }, /here they are not/],
    ['steps that do not go with the epochs', { local_steps: 5 }, /5 steps do not go with 12 samples/],
    ['more steps than anybody makes', { local_steps: 3e12, local_epochs: 1e12 }, /stated above/],
    ['a rate that nothing can be divided by', { learning_rate: 5e-324 }, /no bias whose difference tells/],
    ['a momentum that no optimiser has', { momentum: 1 }, /below 1/],
  ])('are not told with %s', async (_, change, why) => {
    const report = await audited(noted(change));
    expect(report.leaks).toEqual([]);
    expect(report.verdict.outcome).toBe('not-assessed');
    expect(rowOf(report, 'client-labels')).toMatch(why);
  });

  it('are told with what the user states, who is asked for it', async () => {
    const open = await audited(noted({ learning_rate: null, momentum: null }));
    expect(open.next).toEqual(['state-training']);
    const report = await audited(folder, { training: { learningRate: 0.02, momentum: 0.5 } });
    expect(report.next).toBeUndefined();
    expect(report.findings).toMatchObject([{ id: 'client-classes-computed' }]);
    expect(report.findings[0]?.evidence).toContain('What was given with the audit');
  });
});

describe('classes of one step on a batch that is not told sample by sample', () => {
  it('are told the same way', async () => {
    const report = await audited(join(CLIENTS, 'one-step-batch'));
    expect(report.update).toMatchObject({ kind: 'difference' });
    expect(report.samples).toEqual([]);
    expect(report.findings[0]?.evidence).toContain('1 epoch (1 step) over 12 samples in batches of 12');
    expect(report.leaks.map(({ method }) => method)).toEqual(['client-labels']);
    expect(report.verdict.sentence).toMatch(/It gives away that class 3 and class 8 occur in the client's data\.$/);
  });

  it('are not asked of the head again where that told the samples', async () => {
    const report = await audited(join(CLIENTS, 'one-step-named'));
    expect(report.samples).toHaveLength(1);
    expect(rowOf(report, 'client-labels')).toBeUndefined();
  });
});

describe('gradleak audit --training', () => {
  it('takes what the client did in one line', async () => {
    noted({ learning_rate: null, momentum: null, batch_size: null });
    const { code, out } = await cli('audit', folder, '--attack', 'none', '--training', LINE);
    expect(out).toContain('class 3 (at least 4)');
    expect(code).toBe(0);
  });

  it('is of one client, not of a project', async () => {
    const { code, err } = await cli('audit', CLIENTS, '--training', LINE);
    expect(code).toBe(2);
    expect(err).toContain('each of many has its capture.json');
  });

  it('says what is wrong with the line', async () => {
    const { code, err } = await cli('audit', CLIENT, '--training', 'lr=fast');
    expect(code).toBe(2);
    expect(err).toContain('"lr" must be a number');
  });
});
