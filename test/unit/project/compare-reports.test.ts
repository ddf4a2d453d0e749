import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { upgradeReport } from '../../../src/audit/upgrade-report.js';
import { factsOf } from '../../../src/cli/compare.js';
import { exitCode } from '../../../src/cli/exit-code.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import { compareProjects, compareReports } from '../../../src/project/compare-reports.js';
import { resultOf } from '../../../src/project/summarise.js';
import type { AuditStage, ReconstructionRequest } from '../../../src/protocol/audit-request.js';
import type { Change, ComparedLeak, Comparison } from '../../../src/protocol/comparison.js';
import { CancelledError } from '../../../src/protocol/errors.js';
import type { ProjectEntry } from '../../../src/protocol/project-report.js';
import type { Report } from '../../../src/protocol/report.js';
import { comparisonInWords, groupsOf, samenessInWords } from '../../../src/words/comparison-words.js';
import { GOLDEN } from '../../golden/golden.js';
import { writeNoisy } from '../../golden/make-cases.js';
import { projectEntry, projectReport } from '../../project-entries.js';

/** Real reports in pairs: with noise and without, asked for less, stopped, of other samples. */

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures');
const MLP = join(FIXTURES, 'networks', 'mlp');
const BATCH = join(FIXTURES, 'batches', 'trained-smoothed-bias-s0');
const LANGUAGE = join(FIXTURES, 'leaks', 'language');
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-compare-reports-'));
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

const chain: ReconstructionRequest = { attack: 'chain', preset: 'soft-label', engine: 'auto', timeLimitSeconds: 10 };

interface Asked {
  readonly noise?: number;
  readonly attack?: ReconstructionRequest['attack'];
  readonly stopAt?: AuditStage;
  readonly batchTimeLimitSeconds?: number;
}

let count = 0;

async function audited(folder: string, { noise, attack = 'chain', stopAt, ...own }: Asked = {}): Promise<Report> {
  const paths = pathsInFolder(folder);
  const gradients = noise === undefined ? paths.gradients : join(scratch, `noisy-${count++}.safetensors`);
  if (noise !== undefined) {
    writeNoisy(paths.gradients, gradients, noise);
  }
  let isStopped = false;
  const { report } = await runAudit(
    { ...paths, gradients, method: 'auto', reconstruction: { ...chain, attack }, ...own },
    {
      progress: ({ stage }) => {
        isStopped ||= stage === stopAt;
      },
      pause: () => (isStopped ? Promise.reject(new CancelledError()) : Promise.resolve()),
    },
  );
  return JSON.parse(JSON.stringify(report)) as Report;
}

/** "Input: gone", without which sample. */
const changes = ({ leaks }: Comparison): string[] => leaks.map(({ what, change }) => `${what}: ${change}`);
const leak = ({ leaks }: Comparison, what: string): ComparedLeak | undefined => leaks.find((own) => own.what === what);
const code = (comparison: Comparison, failOn?: 'critical' | 'high'): number => exitCode(factsOf([comparison], failOn));

describe('an audit of one sample', () => {
  let plain: Report;
  let weak: Report;
  let hidden: Report;
  let labelsOnly: Report;
  beforeAll(async () => {
    plain = await audited(MLP);
    weak = await audited(MLP, { noise: 0.1 });
    hidden = await audited(MLP, { noise: 0.5 });
    labelsOnly = await audited(MLP, { attack: 'none' });
  }, 60_000);

  it('is the same as itself', () => {
    const comparison = compareReports(plain, plain);
    expect(comparison.gradients).toBe('same');
    expect(changes(comparison)).toEqual(['Input: same', 'Label: same', 'Last-layer feature: same']);
    expect(code(comparison, 'critical')).toBe(0);
    expect(comparisonInWords(comparison, ['A', 'B'])).toBe(
      'Both give away the same: 3 leaks. Both audits are of the same gradient.',
    );
  });

  it('under much noise is not assessed, which is not a clean result', () => {
    const comparison = compareReports(plain, hidden);
    expect(hidden.verdict.outcome).toBe('not-assessed');
    expect(changes(comparison)).toEqual([
      'Input: unassessed-b',
      'Label: unassessed-b',
      'Last-layer feature: unassessed-b',
    ]);
    expect(leak(comparison, 'Label')?.b).toEqual({
      state: 'not-assessed',
      severity: null,
      detail: expect.stringContaining('cannot be told from noise') as string,
    });
    expect(comparison.b.open).toContain('nothing in the file tells which');
    expect(code(comparison, 'high')).toBe(4);
  });

  it('has less of its label with less noise, and the input, which starts from it, was not looked for', () => {
    const comparison = compareReports(plain, weak);
    expect(changes(comparison)).toEqual(['Input: unassessed-b', 'Last-layer feature: same', 'Label: better']);
    const label = leak(comparison, 'Label');
    expect([label?.a.severity, label?.b.severity]).toEqual(['high', 'low']);
    expect(label?.b.detail).toMatch(/^a guess, class 2.*, confidence 0\.9/);
    expect(leak(comparison, 'Input')?.b.detail).toContain('The label is not certain');
    expect(leak(compareReports(weak, plain), 'Label')?.change).toBe('worse');
    expect(code(compareReports(weak, plain), 'high')).toBe(1);
  });

  it('of which only the class is sure has less, though it is as severe', async () => {
    const classOnly = await audited(MLP, { noise: 0.03 });
    const label = leak(compareReports(plain, classOnly), 'Label');
    expect([label?.change, label?.a.severity, label?.b.severity]).toEqual(['better', 'high', 'high']);
  });

  it('without the noise again is worse, also where nobody could have found it before', () => {
    const comparison = compareReports(hidden, plain);
    expect(changes(comparison)).toEqual([
      'Input: unassessed-a',
      'Label: unassessed-a',
      'Last-layer feature: unassessed-a',
    ]);
    expect(code(comparison, 'critical')).toBe(1);
    expect(code(comparison)).toBe(4);
  });

  it('says that noise makes another gradient of it, and that its checkpoint is the same', () => {
    const comparison = compareReports(plain, hidden);
    expect([comparison.gradients, comparison.checkpoints]).toEqual(['different', 'same']);
    expect(samenessInWords(comparison)).toMatch(/^These are two different gradients, .* The checkpoint is the same\.$/);
  });

  it('asked for labels alone is no audit in which the input is gone', () => {
    const comparison = compareReports(plain, labelsOnly);
    expect(leak(comparison, 'Input')?.change).toBe('unassessed-b');
    expect(comparison.onlyInA).toEqual([
      { title: 'The input itself', why: 'Reconstruction of inputs was not asked for.' },
    ]);
    expect(code(comparison)).toBe(4);
    expect(comparisonInWords(comparison, ['A', 'B'])).toContain('Input of class 2 (not assessed in B)');
    expect(comparisonInWords(comparison, ['A', 'B'])).not.toContain('gone in');
    expect(code(compareReports(labelsOnly, plain), 'critical')).toBe(1);
  });

  it('that was stopped has lost nothing', async () => {
    const stopped = await audited(MLP, { stopAt: 'reconstruct' });
    expect(stopped.cancelled).toBe(true);
    const comparison = compareReports(plain, stopped);
    expect(changes(comparison).filter((own) => own.endsWith('gone'))).toEqual([]);
    expect(leak(comparison, 'Input')?.change).toBe('unassessed-b');
    expect(comparison.b.open).toBe('The audit was stopped before it was done.');
    expect(code(comparison)).toBe(4);
  });

  it('whose report is of the first version does not say what ran, so nothing is gone in it', () => {
    const stored = JSON.parse(readFileSync(join(FIXTURES, 'reports', 'version-1-mlp.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    const { methods: _methods, ...older } = upgradeReport({ ...stored, samples: [], findings: [] })!;
    const comparison = compareReports(plain, older);
    expect(new Set(comparison.leaks.map(({ change }) => change))).toEqual(new Set<Change>(['unassessed-b']));
    expect(comparison.gradients).toBe('unknown');
  });

  it('of files that do not fit each other has lost nothing either', () => {
    const verdict = { outcome: 'mismatch' as const, sentence: 'The files do not fit.' };
    const comparison = compareReports(plain, { ...hidden, verdict });
    expect(new Set(comparison.leaks.map(({ change }) => change))).toEqual(new Set<Change>(['unassessed-b']));
    expect(comparison.b.open).toBe('The files do not fit.');
  });

  it('with the true label is no leak of the input that another audit found', () => {
    const [sample] = plain.samples;
    const told = { ...sample!, reconstruction: { ...sample!.reconstruction!, usedTruth: true as const } };
    const comparison = compareReports({ ...plain, samples: [told] }, plain);
    expect(leak(comparison, 'Input')?.change).toBe('new');
  });

  it('whose input was matched for longer leaves it open in one that was matched for less', () => {
    const [sample] = plain.samples;
    const own = sample!.reconstruction!;
    const matching = { preset: 'dlg', done: 100 } as Report['samples'][0]['reconstruction'] extends infer R
      ? NonNullable<NonNullable<R> extends { matching: infer M } ? M : never>
      : never;
    const matched = (verdict: 'exact' | 'uncertain', done: number): Report => ({
      ...plain,
      samples: [
        { ...sample!, reconstruction: { ...own, method: 'matching', verdict, matching: { ...matching, done } } },
      ],
    });
    const change = (done: number): Change | undefined =>
      leak(compareReports(matched('exact', 100), matched('uncertain', done)), 'Input')?.change;
    expect([change(99), change(100)]).toEqual(['unassessed-b', 'gone']);
    // The closed form was not tried by an audit that matched alone.
    expect(leak(compareReports(plain, matched('uncertain', 100)), 'Input')?.change).toBe('unassessed-b');
  });
});

describe('an audit of a batch', () => {
  let plain: Report;
  beforeAll(async () => {
    plain = await audited(BATCH, { attack: 'none' });
  }, 60_000);

  it('is compared sample by sample, by their classes', async () => {
    const noisy = await audited(BATCH, { attack: 'none', noise: 1e-3 });
    const comparison = compareReports(plain, noisy);
    const told = comparison.leaks.map(({ what, change }) => `${what}: ${change}`);
    expect(told.filter((own) => own === 'Label: gone')).toHaveLength(8);
    expect(told.filter((own) => own === 'Last-layer feature: gone')).toHaveLength(8);
    expect(leak(comparison, 'How often each class occurs')).toMatchObject({
      change: 'better',
      a: { severity: 'high' },
      b: { severity: 'low' },
    });
    expect(code(comparison, 'critical')).toBe(0);
    const [labels] = groupsOf(comparison, ['A', 'B']).filter(({ what }) => what.startsWith('Label of'));
    expect(labels?.what).toMatch(/^Label of (class \d+, ){5}class \d+ and 2 more$/);
  });

  it('whose search ran out of time has lost nothing', async () => {
    const hasty = await audited(BATCH, { attack: 'none', batchTimeLimitSeconds: 1e-3 });
    expect(hasty.batch.endedEarly).toBe(true);
    const labels = compareReports(plain, hasty).leaks.filter(({ what }) => what === 'Label');
    expect(labels).toHaveLength(8);
    for (const { change, b } of labels.filter((own) => own.b.state !== 'found')) {
      expect([change, b.detail]).toEqual(['unassessed-b', 'The time for the search for its samples was up.']);
    }
  });

  it('against one of other samples says that they are two gradients, and what is new', async () => {
    const other = await audited(MLP);
    const comparison = compareReports(plain, other);
    expect([comparison.gradients, comparison.checkpoints]).toEqual(['different', 'different']);
    expect(samenessInWords(comparison)).toContain('Their checkpoints differ too.');
    expect(comparison.leaks.filter(({ change }) => change === 'new').map(({ what, of }) => [what, of])).toEqual([
      ['Label', 'class 2'],
      ['Last-layer feature', 'class 2'],
    ]);
  });
});

describe('leaks beside the head', () => {
  it('are gone where their method ran and found nothing, and carry their own severity', async () => {
    const plain = await audited(LANGUAGE, { attack: 'none' });
    const noisy = await audited(LANGUAGE, { attack: 'none', noise: 1e-3 });
    const tokens = compareReports(plain, noisy).leaks.filter(({ of }) => of === 'tokens.weight');
    expect(tokens).toMatchObject([{ change: 'gone', a: { state: 'found' }, b: { state: 'nothing' } }]);
    expect(tokens[0]?.a.severity).toBe(plain.findings.find(({ id }) => id === 'embedding-tokens')?.severity);
    const unread = { ...noisy, methods: noisy.methods!.filter(({ id }) => id !== 'embedding-rows') };
    expect(compareReports(plain, unread).leaks.find(({ of }) => of === 'tokens.weight')?.b.detail).toBe(
      'No method that tells this ran.',
    );
  });

  it('of the files themselves are new wherever they appear', async () => {
    const plain = await audited(MLP);
    const finding = {
      id: 'pickle-runs-code',
      severity: 'critical' as const,
      title: 'Runs',
      evidence: '',
      mitigation: '',
    };
    const comparison = compareReports(plain, { ...plain, findings: [finding, ...plain.findings] });
    expect(leak(comparison, 'Runs')?.change).toBe('new');
    expect(code(comparison, 'critical')).toBe(1);
  });
});

/** Kept reports say of long lists how long they are. */
function withNumbers(_key: string, value: unknown): unknown {
  const length = typeof value === 'string' ? /^(\d+) numbers$/.exec(value)?.[1] : undefined;
  return length === undefined ? value : Array.from({ length: Number(length) }, () => 0);
}

describe('every kept report', () => {
  const kept = readdirSync(GOLDEN)
    .filter((file) => file.endsWith('.json'))
    .map((file) => JSON.parse(readFileSync(join(GOLDEN, file), 'utf8'), withNumbers) as Report);

  it('is the same as itself, and looked at as itself', () => {
    for (const report of kept) {
      const comparison = compareReports(report, report);
      expect(comparison.leaks.filter(({ change }) => change !== 'same')).toEqual([]);
      expect([...comparison.onlyInA, ...comparison.onlyInB]).toEqual([]);
      expect(comparison.leaks.length > 0).toBe(report.findings.length > 0);
    }
  });

  it('against every other one mirrors the comparison the other way round', () => {
    const mirrored: Record<Change, Change> = {
      new: 'gone',
      gone: 'new',
      'unassessed-a': 'unassessed-b',
      'unassessed-b': 'unassessed-a',
      worse: 'better',
      better: 'worse',
      same: 'same',
    };
    const counted = (changes: readonly Change[]): string => [...changes].sort().join();
    for (const one of kept) {
      for (const other of kept) {
        const [there, back] = [compareReports(one, other), compareReports(other, one)];
        expect(counted(there.leaks.map(({ change }) => mirrored[change]))).toBe(
          counted(back.leaks.map(({ change }) => change)),
        );
        for (const { change, b } of there.leaks) {
          expect(change === 'gone').toBe(b.state === 'nothing');
        }
        expect(comparisonInWords(there, ['A', 'B'])).not.toMatch(/undefined|NaN|null/);
      }
    }
  });

  it('that was not assessed has nothing gone that its methods would have told', () => {
    const open = kept.filter(({ verdict }) => verdict.outcome === 'mismatch');
    expect(open.length).toBeGreaterThan(0);
    for (const report of open) {
      for (const one of kept) {
        expect(compareReports(one, report).leaks.filter(({ change }) => change === 'gone')).toEqual([]);
      }
    }
  });
});

describe('two projects', () => {
  it('are compared gradient by gradient; what is in one alone was not assessed in the other', async () => {
    const [plain, noisy] = [await audited(MLP), await audited(MLP, { noise: 0.1 })];
    const entry = (id: string, gradients: string, report: Report): ProjectEntry =>
      projectEntry({ id, gradients, result: resultOf(report) });
    const a = projectReport([entry('a1', 'r1/gradient.pt', plain), entry('a2', 'r2/gradient.pt', plain)]);
    const b = projectReport([
      entry('b1', 'r1/gradient.pt', noisy),
      entry('b3', 'r3/gradient.pt', plain),
      projectEntry({ id: 'b4', gradients: 'r4/gradient.pt', status: 'failed', problem: 'It is broken.' }),
    ]);
    const reports = new Map([
      ['a1', plain],
      ['a2', plain],
      ['b1', noisy],
      ['b3', plain],
    ]);
    const { entries } = compareProjects(a, b, (_side, id) => reports.get(id));
    const told = entries.map(({ gradients, comparison }) => [
      gradients,
      [...new Set(comparison.leaks.map(({ change }) => change))],
      comparison.b.open,
    ]);
    expect(told).toEqual([
      ['r1/gradient.pt', ['unassessed-b', 'same', 'better'], null],
      ['r2/gradient.pt', ['unassessed-b'], 'There is no audit of this gradient.'],
      ['r3/gradient.pt', ['unassessed-a'], null],
      ['r4/gradient.pt', [], 'It is broken.'],
    ]);
    const comparisons = entries.map(({ comparison }) => comparison);
    expect(exitCode(factsOf(comparisons, 'critical'))).toBe(1);
    expect(exitCode(factsOf(comparisons, undefined))).toBe(4);
    expect(exitCode(factsOf([], undefined))).toBe(4);
    const gone = compareProjects(a, a, (side, id) => (side === 'a' ? reports.get(id) : undefined)).entries[0];
    expect(gone?.comparison.b.open).toContain('not beside the project');
  });
});
