import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
  readdirSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Ajv } from 'ajv';
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { writeOutput } from '../../../src/audit/output-folder.js';
import { runAudit } from '../../../src/audit/run-audit.js';
import { fileKindOf } from '../../../src/kinds/file-kind.js';
import { discover } from '../../../src/project/discover.js';
import { contentHash } from '../../../src/formats/content-hash.js';
import { settingsKey } from '../../../src/project/settings-key.js';
import { planProject, runOf } from '../../../src/project/plan.js';
import { readProject, runProject } from '../../../src/project/run-project.js';
import { toSarif } from '../../../src/project/sarif.js';
import { changeOf, resultOf, summarise } from '../../../src/project/summarise.js';
import { renderProject } from '../../../src/cli/render-project.js';
import type { AuditRequest } from '../../../src/protocol/audit-request.js';
import { CancelledError } from '../../../src/protocol/errors.js';
import type { EntryResult, ProjectEntry, ProjectPlan, ProjectReport } from '../../../src/protocol/project-report.js';
import type { Report, Verdict } from '../../../src/protocol/report.js';
import { entryResult } from '../../project-entries.js';
import { projectInWords, standingOf } from '../../../src/words/outcome-words.js';

const tool = vi.hoisted(() => ({ version: '' }));
vi.mock('../../../src/audit/version.js', async (original) => {
  const { TOOL_VERSION } = await original<{ TOOL_VERSION: string }>();
  return {
    get TOOL_VERSION() {
      return tool.version === '' ? TOOL_VERSION : tool.version;
    },
  };
});

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures');
const MEDIA = join(import.meta.dirname, '..', '..', '..', 'media');
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-project-'));
let root = '';
let count = 0;
const pause = (): Promise<void> => Promise.resolve();
const hooks = { progress: () => undefined, pause };

beforeEach(() => {
  tool.version = '';
  count++;
  root = join(scratch, String(count));
  mkdirSync(root);
});
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

function dump(from: string, to: string): void {
  cpSync(join(FIXTURES, 'dumps', from), join(root, to), { recursive: true });
}

function write(name: string, text: string): void {
  mkdirSync(dirname(join(root, name)), { recursive: true });
  writeFileSync(join(root, name), text);
}

function plan(options: { exclude?: string[]; includeIgnored?: boolean } = {}): Promise<ProjectPlan> {
  return planProject(
    root,
    { exclude: [], includeIgnored: false, settings: 's', kindOf: (file) => fileKindOf(file, true).kind, ...options },
    pause,
  );
}

function run(
  own: ProjectPlan,
  options: {
    stopAfter?: number;
    onAudit?: (request: AuditRequest) => void;
    /** Stands for what audits of other gradients would have come to. */
    verdictOf?: (gradients: string) => Verdict['outcome'] | undefined;
    settings?: Pick<AuditRequest, 'method' | 'reconstruction'>;
    fresh?: boolean;
  } = {},
): Promise<ProjectReport> {
  let audited = 0;
  const isStopped = (): boolean => audited >= (options.stopAfter ?? Infinity);
  return runProject({
    plan: own,
    out: join(root, 'gradleak-report'),
    concurrency: 2,
    ...(options.fresh === undefined ? {} : { fresh: options.fresh }),
    settings: options.settings ?? { method: 'auto' },
    auditOne: async (request) => {
      if (isStopped()) {
        throw new CancelledError();
      }
      audited++;
      options.onAudit?.(request);
      await runAudit(request, hooks);
      const outcome = options.verdictOf?.(request.gradients.slice(root.length + 1));
      if (outcome !== undefined) {
        const path = join(request.out, 'report.json');
        const report = JSON.parse(readFileSync(path, 'utf8')) as Report;
        const silent = { ...report, samples: [], findings: [], verdict: { outcome, sentence: `It is ${outcome}.` } };
        writeOutput(request.out, 'report.json', JSON.stringify(silent), false);
      }
    },
    progress: () => undefined,
    cancelled: isStopped,
  });
}

describe('finding files', () => {
  it('respects .gitignore, also nested and negated, and excluded globs', async () => {
    for (const name of ['a/one.pt', 'a/two.pt', 'b/three.pt', 'b/keep.pt', 'c/four.npz', 'net.onnx', 'd/five.pt']) {
      write(name, '');
    }
    write('node_modules/x.pt', '');
    write('.git/x.pt', '');
    write('notes.txt', '');
    write('.gitignore', 'a/two.pt\nb/*\n!b/keep.pt\n');
    write('d/.gitignore', '*\n');
    const names = async (options: { exclude?: string[]; includeIgnored?: boolean }): Promise<string[]> =>
      (await discover(root, { exclude: [], includeIgnored: false, ...options }, pause)).tensorFiles.map((path) =>
        path.slice(root.length + 1),
      );
    expect(await names({})).toEqual(['a/one.pt', 'b/keep.pt', 'c/four.npz']);
    expect(await names({ exclude: ['**/c', '**/c/**'] })).toEqual(['a/one.pt', 'b/keep.pt']);
    expect(await names({ includeIgnored: true })).toHaveLength(6);
  });

  it('passes over patterns of .gitignore that nobody writes', async () => {
    write('a/one.pt', '');
    write('a/two.pt', '');
    write('.gitignore', `${'x if '.repeat(10_000)}\n${'*a'.repeat(30)}b\na/two.pt\n`);
    write(`${'a'.repeat(200)}.pt`, '');
    const { tensorFiles } = await discover(root, { exclude: [], includeIgnored: false }, pause);
    expect(tensorFiles.map((path) => path.slice(root.length + 1))).toEqual(['a/one.pt', `${'a'.repeat(200)}.pt`]);
  });

  it('stops when asked', async () => {
    write('a/one.pt', '');
    await expect(
      discover(root, { exclude: [], includeIgnored: false }, () => Promise.reject(new CancelledError())),
    ).rejects.toThrow(CancelledError);
  });

  it.each([
    ['dumps/round_12.pt', 'dumps', 12],
    ['runs/step-3/gradient.pt', 'runs', 3],
    ['runs/epoch2/gradient.pt', 'runs', 2],
    ['exp/epoch_2/step-10/gradient.pt', 'exp/epoch_2', 10],
    ['round-3/client_1/gradients.pt', 'client_1', 3],
    ['fl/server_round=3_client=7.npz', 'fl/client=7', 3],
    ['a/iter_5_gradient.safetensors', 'a/gradient', 5],
    ['a/rnd3.pt', 'a', 3],
    ['Round 4/gradient.pt', '.', 4],
    // Numbers of anything else: settings, clients, and how often a script has run.
    ['sweep/c02/gradient.pt', 'sweep/c02', null],
    ['sweep/c16/gradient.pt', 'sweep/c16', null],
    ['captures/train-3/gradient.pt', 'captures/train-3', null],
    ['run/7/gradient.pt', 'run/7', null],
    ['dumps/k100.pt', 'dumps', null],
    ['dumps/timestep-3.pt', 'dumps', null],
    ['runs/epochs_50/gradient.pt', 'runs/epochs_50', null],
    ['gradient.pt', '.', null],
    ['client/final.safetensors', 'client', null],
  ])('%s belongs to run %s, round %s', (name, ownRun, round) => {
    expect(runOf(name)).toEqual({ run: ownRun, round });
  });

  it('a round in the notes of a capture goes before its name, and joins the captures beside it', () => {
    expect(runOf('captures/a/gradient.pt', 4)).toEqual({ run: 'captures', round: 4 });
    expect(runOf('captures/step-3/gradient.pt', 4)).toEqual({ run: 'captures', round: 4 });
  });
});

describe('the plan', () => {
  it('pairs each gradient with the checkpoint that fits, nearest first', async () => {
    dump('k10_hard_bias_default', 'runs/a');
    dump('k10_mixup_bias_default', 'runs/b');
    dump('k100_smooth_bias_default', 'other/c');
    cpSync(join(FIXTURES, 'inspection', 'optimiser.pt'), join(root, 'optimiser.pt'));
    write('broken.pt', 'no tensors');
    const own = await plan();
    expect(own.entries.map(({ gradients, checkpoint }) => [gradients, checkpoint])).toEqual([
      ['other/c/gradient.pt', 'other/c/checkpoint.pt'],
      ['runs/a/gradient.pt', 'runs/a/checkpoint.pt'],
      ['runs/b/gradient.pt', 'runs/b/checkpoint.pt'],
    ]);
    expect(own.skipped).toHaveLength(1);
    expect(own.skipped[0]).toMatchObject({ path: 'broken.pt', reason: expect.stringContaining('not') as string });
  });

  it('says which gradient has no checkpoint', async () => {
    dump('k10_hard_bias_default', 'a');
    rmSync(join(root, 'a', 'checkpoint.pt'));
    const own = await plan();
    expect(own.entries).toEqual([]);
    expect(own.skipped[0]?.reason).toContain('none of 0 other files fits');
    expect(own.skipped[0]?.isGradient).toBe(true);
  });

  it('takes the only network of a folder above, never one of several', async () => {
    dump('k10_hard_bias_default', 'runs/a');
    write('runs/net.onnx', '');
    dump('k10_mixup_bias_default', 'more/b');
    write('more/one.onnx', '');
    write('more/two.onnx', '');
    const networks = (await plan()).entries.map(({ gradients, network }) => [gradients, network]);
    expect(networks).toEqual([
      ['more/b/gradient.pt', null],
      ['runs/a/gradient.pt', 'runs/net.onnx'],
    ]);
  });

  it('takes line and script of a capture from its notes', async () => {
    dump('k10_hard_bias_default', 'captures/train-2');
    write(
      'captures/train-2/capture.json',
      JSON.stringify({ schema_version: 1, script: join(root, 'train.py'), line: 7 }),
    );
    const [entry] = (await plan()).entries;
    expect(entry).toMatchObject({ script: { file: join(root, 'train.py'), line: 7 } });
    // The number counts runs of the script, and is no round.
    expect(entry).toMatchObject({ run: 'captures/train-2', round: null });
  });

  it('takes the round of a capture from its notes', async () => {
    dump('k10_hard_bias_default', 'captures/a');
    write('captures/a/capture.json', JSON.stringify({ schema_version: 1, round: 12 }));
    expect((await plan()).entries[0]).toMatchObject({ run: 'captures', round: 12 });
  });
});

describe('the identity of an entry', () => {
  const ids = async (): Promise<string[]> => (await plan()).entries.map(({ id }) => id);

  it('is of contents: not of times, and of every file that the audit reads', async () => {
    dump('k10_hard_bias_default', 'a');
    const [first] = await ids();
    for (const name of ['gradient.pt', 'checkpoint.pt']) {
      const later = new Date(Date.now() + 60_000);
      utimesSync(join(root, 'a', name), later, later);
    }
    expect(await ids()).toEqual([first]);
    const seen = new Set([first]);
    const expectNew = async (): Promise<void> => {
      const [id] = await ids();
      expect(seen).not.toContain(id);
      seen.add(id);
    };
    write('a/truth.json', '{"labels": [[1]]}');
    await expectNew();
    write('a/truth.json', '{"labels": [[2]]}');
    await expectNew();
    write('a/classes.txt', 'one\ntwo');
    await expectNew();
    write('a/capture.json', '{"schema_version": 1}');
    await expectNew();
    write('net.onnx', 'one');
    await expectNew();
    write('net.onnx', 'two');
    await expectNew();
    write('a/model.onnx', 'own');
    await expectNew();
  });

  it('is not fooled by a file of the same size and time', async () => {
    dump('k10_hard_bias_default', 'a');
    write('a/truth.json', '{"labels": [[1, 0]]}');
    const path = join(root, 'a', 'truth.json');
    const { atime, mtime } = statSync(path);
    const before = await ids();
    writeFileSync(path, '{"labels": [[0, 1]]}');
    utimesSync(path, atime, mtime);
    expect(await ids()).not.toEqual(before);
  });

  it('tells equal dumps apart, which have a report each', async () => {
    dump('k10_hard_bias_default', 'a');
    dump('k10_hard_bias_default', 'b');
    expect(new Set(await ids()).size).toBe(2);
  });

  it('is of every shard of a checkpoint', async () => {
    dump('in_sharded', 'a');
    const before = await ids();
    const index = JSON.parse(readFileSync(join(root, 'a', 'checkpoint.safetensors.index.json'), 'utf8')) as {
      weight_map: Record<string, string>;
    };
    const shard = join(root, 'a', Object.values(index.weight_map)[0]!);
    const bytes = readFileSync(shard);
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(shard, bytes);
    expect(before).toHaveLength(1);
    expect(await ids()).not.toEqual(before);
  });

  it('is of the files that the settings name', async () => {
    write('net.onnx', 'one');
    const key = (): Promise<string> =>
      settingsKey(
        {
          method: 'auto',
          reconstruction: {
            attack: 'chain',
            preset: 'dlg',
            engine: 'auto',
            timeLimitSeconds: 1,
            model: join(root, 'net.onnx'),
          },
        },
        undefined,
        pause,
      );
    const before = await key();
    expect(await key()).toBe(before);
    write('net.onnx', 'two');
    expect(await key()).not.toBe(before);
  });

  it('changes with the version of the tool: after an upgrade everything is audited anew', async () => {
    dump('k10_hard_bias_default', 'runs/step-1');
    dump('k10_mixup_bias_default', 'runs/step-2');
    const again: string[] = [];
    const onAudit = ({ gradients }: AuditRequest): void => {
      again.push(gradients.slice(root.length + 1));
    };
    await run(await plan());
    await run(await plan(), { onAudit });
    expect(again).toEqual([]);
    tool.version = '99.0.0';
    const report = await run(await plan(), { onAudit });
    expect(again.sort()).toEqual(['runs/step-1/gradient.pt', 'runs/step-2/gradient.pt']);
    expect(report.entries.map(({ change }) => change)).toEqual(['same', 'same']);
  });

  it('is computed in chunks, once per file, and can be stopped', async () => {
    const path = join(root, 'large.bin');
    writeFileSync(path, Buffer.alloc(9 * 2 ** 20, 7));
    let pauses = 0;
    const counted = (): Promise<void> => {
      pauses++;
      return Promise.resolve();
    };
    await expect(contentHash(path, () => Promise.reject(new CancelledError()))).rejects.toThrow(CancelledError);
    const hash = await contentHash(path, counted);
    expect(hash).toMatch(/^[0-9a-f]{64}$/);
    expect(pauses).toBeGreaterThanOrEqual(3);
    pauses = 0;
    expect(await contentHash(path, counted)).toBe(hash);
    expect(pauses).toBe(0);
    renameSync(path, `${path}.old`);
    writeFileSync(path, Buffer.alloc(9 * 2 ** 20, 8));
    expect(await contentHash(path, counted)).not.toBe(hash);
  });
});

describe('the audit of a project', () => {
  const three = (): void => {
    dump('k10_hard_bias_default', 'runs/step-1');
    dump('k10_mixup_bias_default', 'runs/step-2');
    dump('batch6_bias', 'runs/step-3');
  };

  it('audits every pair, writes a report that its schema describes, and compares with the truth', async () => {
    three();
    const report = await run(await plan());
    expect(report.status).toBe('complete');
    expect(report.entries.map(({ status }) => status)).toEqual(['done', 'done', 'done']);
    expect(report.summary).toMatchObject({ dumps: 3, done: 3, failed: 0, samples: 8 });
    expect(report.summary).toMatchObject({ leaking: 3, estimated: 0 });
    expect(report.summary.byKind.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['hard', 'mixup']));
    expect(report.summary.overRounds).toMatchObject([
      {
        run: 'runs',
        rounds: [
          { round: 1, leakRate: 1, leaking: 1, gradients: 1 },
          { round: 2, leakRate: 1, leaking: 1, gradients: 1 },
          { round: 3, leakRate: 1, leaking: 1, gradients: 1 },
        ],
      },
    ]);
    expect(report.summary.truth?.labelsRight).toBe(report.summary.truth?.of);
    expect(readProject(join(root, 'gradleak-report'))).toEqual(report);
    const schema = JSON.parse(readFileSync(join(MEDIA, 'project.schema.json'), 'utf8')) as object;
    const validate = new Ajv({ strict: false }).compile(schema);
    expect(validate(JSON.parse(JSON.stringify(report))), JSON.stringify(validate.errors)).toBe(true);
  });

  it('stops half-way, keeps what is done, and goes on with the rest only', async () => {
    three();
    const own = await plan();
    const first = await run(own, { stopAfter: 2 });
    expect(first.status).toBe('cancelled');
    expect(first.entries.filter(({ status }) => status === 'done')).toHaveLength(2);
    const again: string[] = [];
    const second = await run(await plan(), { onAudit: ({ gradients }) => again.push(gradients) });
    expect(second.status).toBe('complete');
    expect(again).toHaveLength(1);
    expect(second.summary.done).toBe(3);
  });

  it('audits anew what has changed, and says whether it leaks more', async () => {
    three();
    await run(await plan());
    const noise = join(FIXTURES, 'dumps', 'noise_0.001');
    rmSync(join(root, 'runs', 'step-1'), { recursive: true });
    cpSync(noise, join(root, 'runs', 'step-1'), { recursive: true });
    const later = new Date(Date.now() + 5000);
    utimesSync(join(root, 'runs', 'step-3', 'gradient.pt'), later, later);
    // The same labels, written in another way: the result must be compared with them anew, and does not change.
    write('runs/step-2/truth.json', `${readFileSync(join(root, 'runs', 'step-2', 'truth.json'), 'utf8')}\n`);
    const again: string[] = [];
    const report = await run(await plan(), {
      onAudit: ({ gradients }) => again.push(gradients.slice(root.length + 1)),
    });
    expect(again.sort()).toEqual(['runs/step-1/gradient.pt', 'runs/step-2/gradient.pt']);
    const changes = Object.fromEntries(report.entries.map(({ gradients, change }) => [gradients, change]));
    expect(changes['runs/step-2/gradient.pt']).toBe('same');
    expect(['worse', 'better', 'same']).toContain(changes['runs/step-1/gradient.pt']);
  });

  it('takes no report that was planted or changed, and none when asked to begin anew', async () => {
    three();
    const own = await plan();
    await run(own);
    const [entry] = own.entries;
    const path = join(root, 'gradleak-report', 'entries', entry!.id, 'report.json');
    const report = JSON.parse(readFileSync(path, 'utf8')) as Report;
    const silent = { ...report, findings: [], verdict: { outcome: 'nothing-found', sentence: 'Nothing leaks.' } };
    writeFileSync(path, JSON.stringify(silent));
    const audited: string[] = [];
    const onAudit = (request: AuditRequest): void => {
      audited.push(request.gradients.slice(root.length + 1));
    };
    const after = await run(await plan(), { onAudit });
    expect(audited).toEqual([entry!.gradients]);
    expect(after.entries[0]!.result!.findings).not.toEqual([]);
    await run(await plan(), { onAudit, fresh: true });
    expect(audited).toHaveLength(4);
  });

  it('reports a failure of one and does the others', async () => {
    three();
    const own = await plan();
    rmSync(join(root, 'runs', 'step-2', 'checkpoint.pt'));
    const report = await run(own);
    expect(report.summary).toMatchObject({ done: 2, failed: 1 });
    expect(report.entries.find(({ status }) => status === 'failed')?.problem).toContain('checkpoint.pt');
  });

  it('a network nearby that does not fit takes nothing away', async () => {
    dump('k10_hard_bias_default', 'runs/a');
    write('runs/net.onnx', 'no network');
    const models: (string | undefined)[] = [];
    const report = await run(await plan(), {
      onAudit: ({ reconstruction }) => models.push(reconstruction?.model),
      settings: {
        method: 'auto',
        reconstruction: { attack: 'chain', preset: 'soft-label', engine: 'auto', timeLimitSeconds: 10 },
      },
    });
    expect(models).toEqual([join(root, 'runs', 'net.onnx'), undefined]);
    expect(report.entries[0]).toMatchObject({ status: 'done', result: { labels: 1 } });
  });

  it('never writes over a report that is not one of a project', async () => {
    three();
    write('gradleak-report/report.json', '{"mine": true}');
    const own = await plan();
    await expect(run(own)).rejects.toThrow(/a file that GradLeak did not write/);
    expect(readFileSync(join(root, 'gradleak-report', 'report.json'), 'utf8')).toBe('{"mine": true}');
  });
});

describe('outcomes of a project', () => {
  const outcomes: Record<string, Verdict['outcome']> = {
    'runs/step-1/gradient.pt': 'none',
    'runs/step-2/gradient.pt': 'not-assessed',
    'runs/step-3/gradient.pt': 'mismatch',
  };
  const five = async (): Promise<ProjectReport> => {
    for (const round of [1, 2, 3]) {
      dump('k10_hard_bias_default', `runs/step-${round}`);
    }
    dump('k10_hard_bias_default', 'runs/step-4');
    dump('k10_mixup_bias_default', 'runs/step-5');
    write('runs/step-4/truth.json', 'no truth');
    return run(await plan(), { verdictOf: (gradients) => outcomes[gradients] });
  };

  it('are counted apart, and only what was judged counts for a round', async () => {
    const report = await five();
    expect(report.summary).toMatchObject({
      dumps: 5,
      done: 4,
      failed: 1,
      leaking: 1,
      estimated: 0,
      nothing: 1,
      notAssessed: 1,
      mismatched: 1,
      labels: 1,
    });
    expect(report.summary.overRounds).toEqual([
      {
        run: 'runs',
        rounds: [
          { round: 1, leakRate: 0, leaking: 0, gradients: 1, exactInputs: 0 },
          { round: 5, leakRate: 1, leaking: 1, gradients: 1, exactInputs: 0 },
        ],
      },
    ]);
    expect(projectInWords(report.summary)).toBe(
      '1 of 5 gradients leaks; nothing found in 1 by the methods that apply; 1 not assessed; 1 not of its checkpoint; 1 could not be audited.',
    );
  });

  it('are said line by line in a terminal, with the reason', async () => {
    const report = await five();
    const text = renderProject(report, 'out');
    expect(text).toMatch(/^runs\/step-1\/gradient\.pt +nothing found: It is none\./m);
    expect(text).toMatch(/^runs\/step-2\/gradient\.pt +not assessed: It is not-assessed\.$/m);
    expect(text).toMatch(/^runs\/step-3\/gradient\.pt +files do not fit: It is mismatch\.$/m);
    expect(text).toMatch(/^runs\/step-4\/gradient\.pt +could not be audited: .*truth\.json/m);
    expect(text).toMatch(/^runs\/step-5\/gradient\.pt +high, leaks: 1 of 1 labels/m);
    expect(text).toContain('Labels of 1 of 4 samples recovered');
    expect(text).not.toMatch(/%/);
  });

  it('without a judgement are told to code scanning', async () => {
    const report = await five();
    const [invocation] = toSarif(report).runs[0]?.invocations ?? [];
    expect(invocation?.executionSuccessful).toBe(false);
    const told = invocation?.toolExecutionNotifications?.map(({ level, descriptor, message, locations }) => [
      level,
      descriptor?.id,
      message.text?.split(':')[0],
      locations?.[0]?.physicalLocation?.artifactLocation?.uri,
    ]);
    expect(told).toEqual([
      ['warning', 'not-assessed', 'Not assessed', 'runs/step-2/gradient.pt'],
      ['warning', 'mismatch', 'Files do not fit', 'runs/step-3/gradient.pt'],
      ['warning', 'failed', 'Could not be audited', 'runs/step-4/gradient.pt'],
    ]);
    for (const notAssessed of [true, false]) {
      const entries = report.entries.filter(
        ({ result }) => result?.outcome === (notAssessed ? 'not-assessed' : 'leaks'),
      );
      const own = toSarif({ ...report, entries, summary: summarise(entries) });
      expect(own.runs[0]?.invocations?.[0]?.executionSuccessful).toBe(!notAssessed);
    }
  });

  const entry = (own: Partial<EntryResult>, round: number): ProjectEntry => ({
    id: '',
    gradients: `${round}`,
    checkpoint: '',
    fit: 1,
    run: 'r',
    round,
    script: null,
    truth: null,
    network: null,
    status: 'done',
    problem: null,
    result: entryResult(own),
    change: 'new',
  });

  it('one large batch does not outweigh gradients that leak', () => {
    const counts = { classes: 10, of: 10, confirmed: true };
    const entries = [
      ...Array.from({ length: 33 }, () => entry({}, 1)),
      entry({ outcome: 'counts', samples: 300, labels: 0, counts }, 1),
    ];
    const summary = summarise(entries);
    expect(summary).toMatchObject({ leaking: 34, samples: 333, labels: 33 });
    expect(summary.overRounds[0]?.rounds).toMatchObject([{ leakRate: 1, leaking: 34, gradients: 34 }]);
    expect(projectInWords(summary)).toBe('34 of 34 gradients leak.');
  });

  it('unconfirmed counts are an estimate, as are those of reports before there was a confirmation', () => {
    const unconfirmed = { classes: 10, of: 10, confirmed: false };
    const entries = [entry({ outcome: 'counts', counts: unconfirmed }, 1), entry({ outcome: 'counts' }, 2)];
    expect(entries.map(standingOf)).toEqual(['estimate', 'estimate']);
    expect(summarise(entries)).toMatchObject({ leaking: 0, estimated: 2, nothing: 0 });
    expect(projectInWords(summarise(entries))).toBe(
      'None of 2 gradients was found to leak; label counts estimated for 2.',
    );
  });

  it('a result keeps whether counts are confirmed, and unconfirmed ones make no layer leak', async () => {
    dump('batch6_bias', 'a');
    const { report } = await runAudit(
      { method: 'auto', gradients: join(root, 'a', 'gradient.pt'), checkpoint: join(root, 'a', 'checkpoint.pt') },
      hooks,
    );
    const labelCounts = report.labelCounts!;
    const own = (confirmedBy: string | null): EntryResult =>
      resultOf({
        ...report,
        samples: [],
        // A hidden layer tells of this batch too.
        leaks: [],
        findings: [],
        verdict: { outcome: 'counts', sentence: '' },
        labelCounts: { ...labelCounts, confirmedBy },
      });
    expect(own(null).counts).toMatchObject({ of: 10, confirmed: false });
    expect(own(null).layers).toEqual([]);
    expect(own('The batch has 6 samples.').counts).toMatchObject({ of: 10, confirmed: true });
    expect(own('The batch has 6 samples.').layers).toEqual([report.head?.weight]);
  });

  it('only recovered samples have labels, of every kind that there is', async () => {
    dump('k10_hard_bias_default', 'a');
    const { report } = await runAudit(
      { method: 'auto', gradients: join(root, 'a', 'gradient.pt'), checkpoint: join(root, 'a', 'checkpoint.pt') },
      hooks,
    );
    const [sample] = report.samples;
    const open = { ...sample!, label: { ...sample!.label, kind: 'undetermined' as const } };
    const own = resultOf({ ...report, samples: [open, { ...sample!, status: 'ambiguous' }] });
    expect(own).toMatchObject({ labels: 1, features: 1, kinds: { undetermined: 1 } });
  });

  it('an input is counted once, with its sample or with the leak that tells of it', async () => {
    dump('k10_hard_bias_default', 'a');
    const { report } = await runAudit(
      { method: 'auto', gradients: join(root, 'a', 'gradient.pt'), checkpoint: join(root, 'a', 'checkpoint.pt') },
      hooks,
    );
    const leak = { brief: 'the input', tensor: null, gives: { inputs: 1, tokens: 0 }, details: [] };
    const inputsOf = (sample: number | null): number =>
      resultOf({
        ...report,
        samples: [{ ...report.samples[0], reconstruction: { verdict: 'exact', chain: [] } }],
        leaks: [{ ...leak, sample }],
      } as unknown as Report).exactInputs;
    expect(inputsOf(0)).toBe(1);
    expect(inputsOf(null)).toBe(2);
  });

  it('a project in which nothing could be assessed says so', () => {
    const entries = [entry({ outcome: 'not-assessed' }, 1), entry({ outcome: 'mismatch' }, 2)];
    expect(projectInWords(summarise(entries))).toBe(
      'None of 2 gradients could be assessed; 1 not assessed; 1 not of its checkpoint.',
    );
  });

  it('without a judgement nothing has become better', () => {
    const open = entryResult({ outcome: 'not-assessed', severity: null, labels: 0 });
    expect(changeOf(open, entryResult({}))).toBe('same');
    expect(changeOf(entryResult({}), open)).toBe('new');
    expect(changeOf(entryResult({ outcome: 'none', severity: null, labels: 0 }), entryResult({}))).toBe('better');
  });

  it('totals of an earlier version are made anew when its report is read', async () => {
    dump('k10_hard_bias_default', 'a');
    const { summary, ...rest } = await run(await plan());
    const { closeInputs: _, nothing: __, ...earlier } = summary;
    const path = join(root, 'gradleak-report', 'report.json');
    for (const own of [earlier, undefined]) {
      writeFileSync(path, JSON.stringify({ ...rest, summary: own }));
      expect(readProject(join(root, 'gradleak-report'))?.summary).toEqual(summary);
    }
  });
});

describe('SARIF', () => {
  it('is valid 2.1.0, and points at the line that captured', async () => {
    dump('k10_hard_bias_default', 'captures/train-1');
    dump('k10_mixup_bias_default', 'loose ends');
    write('src/train.py', '');
    write(
      'captures/train-1/capture.json',
      JSON.stringify({ schema_version: 1, script: join(root, 'src', 'train.py'), line: 7 }),
    );
    const log = toSarif(await run(await plan()));
    const schema = JSON.parse(readFileSync(join(FIXTURES, 'sarif', 'sarif-2.1.0-rtm.5.json'), 'utf8')) as {
      $schema?: string;
      id?: string;
    };
    // Draft 4, of which this schema uses nothing that later drafts changed but these two names.
    delete schema.$schema;
    delete schema.id;
    const validate = new Ajv({ strict: false, validateFormats: false, unicodeRegExp: false }).compile(schema);
    expect(validate(JSON.parse(JSON.stringify(log))), JSON.stringify(validate.errors)).toBe(true);
    expect(validate({ ...log, version: '2' })).toBe(false);
    const results = log.runs[0]?.results ?? [];
    const places = results.map(({ locations }) => locations?.[0]?.physicalLocation);
    expect(places).toContainEqual({
      artifactLocation: { uri: 'src/train.py', uriBaseId: 'ROOT' },
      region: { startLine: 7 },
    });
    expect(places).toContainEqual({ artifactLocation: { uri: 'loose%20ends/gradient.pt', uriBaseId: 'ROOT' } });
    expect(new Set(results.map(({ ruleId }) => ruleId))).toEqual(
      new Set(log.runs[0]?.tool.driver.rules?.map(({ id }) => id)),
    );
    expect(results.every(({ level }) => level !== undefined)).toBe(true);
  });

  it('every rule is explained', () => {
    const page = readFileSync(join(MEDIA, '..', 'docs', 'findings.md'), 'utf8');
    const sources = join(MEDIA, '..', 'src');
    const source = readdirSync(sources, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts') && /^(audit|methods)[\\/]/.test(name))
      .map((name) => readFileSync(join(sources, name), 'utf8'))
      .filter((text) => text.includes('mitigation:'))
      .join('\n');
    const ids = [
      ...source.matchAll(/id: '([a-z-]+)',\n\s+severity/g),
      ...source.matchAll(/\? '(imprint-[a-z]+)' : '(imprint-[a-z]+)'/g),
    ].flatMap(([, ...own]) => own);
    expect(ids.length).toBeGreaterThan(8);
    for (const id of ids) {
      expect(page).toContain(`## ${id}\n`);
    }
  });
});
