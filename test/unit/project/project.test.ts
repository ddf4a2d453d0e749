import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Ajv } from 'ajv';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { fileKindOf } from '../../../src/kinds/file-kind.js';
import { discover } from '../../../src/project/discover.js';
import { planProject, runOf } from '../../../src/project/plan.js';
import { readProject, runProject } from '../../../src/project/run-project.js';
import { toSarif } from '../../../src/project/sarif.js';
import type { AuditRequest } from '../../../src/protocol/audit-request.js';
import { CancelledError } from '../../../src/protocol/errors.js';
import type { ProjectPlan, ProjectReport } from '../../../src/protocol/project-report.js';

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures');
const MEDIA = join(import.meta.dirname, '..', '..', '..', 'media');
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-project-'));
let root = '';
let count = 0;
const pause = (): Promise<void> => Promise.resolve();
const hooks = { progress: () => undefined, pause };

beforeEach(() => {
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
    settings?: Pick<AuditRequest, 'method' | 'reconstruction'>;
  } = {},
): Promise<ProjectReport> {
  let audited = 0;
  const isStopped = (): boolean => audited >= (options.stopAfter ?? Infinity);
  return runProject({
    plan: own,
    out: join(root, 'gradleak-report'),
    concurrency: 2,
    settings: options.settings ?? { method: 'auto' },
    auditOne: async (request) => {
      if (isStopped()) {
        throw new CancelledError();
      }
      audited++;
      options.onAudit?.(request);
      await runAudit(request, hooks);
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

  it('stops when asked', async () => {
    write('a/one.pt', '');
    await expect(
      discover(root, { exclude: [], includeIgnored: false }, () => Promise.reject(new CancelledError())),
    ).rejects.toThrow(CancelledError);
  });

  it.each([
    ['captures/train-3/gradient.pt', 'captures/train', 3],
    ['dumps/round_12.pt', 'dumps/round', 12],
    ['gradient.pt', 'gradient', null],
    ['run/7/gradient.pt', 'run', 7],
    ['client/final.safetensors', 'client/final', null],
  ])('%s belongs to run %s, round %s', (name, ownRun, round) => {
    expect(runOf(name)).toEqual({ run: ownRun, round });
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
    expect(entry).toMatchObject({ run: 'captures/train', round: 2, script: { file: join(root, 'train.py'), line: 7 } });
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
    expect(report.summary).toMatchObject({ dumps: 3, done: 3, failed: 0, leaking: 3, samples: 8 });
    expect(report.summary.byKind.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['hard', 'mixup']));
    expect(report.summary.overRounds).toMatchObject([
      { run: 'runs/step', rounds: [{ round: 1 }, { round: 2 }, { round: 3 }] },
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
    utimesSync(join(root, 'runs', 'step-2', 'gradient.pt'), later, later);
    const again: string[] = [];
    const report = await run(await plan(), {
      onAudit: ({ gradients }) => again.push(gradients.slice(root.length + 1)),
    });
    expect(again.sort()).toEqual(['runs/step-1/gradient.pt', 'runs/step-2/gradient.pt']);
    const changes = Object.fromEntries(report.entries.map(({ gradients, change }) => [gradients, change]));
    expect(changes['runs/step-2/gradient.pt']).toBe('same');
    expect(['worse', 'better', 'same']).toContain(changes['runs/step-1/gradient.pt']);
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
    await expect(run(own)).rejects.toThrow(/no report on a project/);
    expect(readFileSync(join(root, 'gradleak-report', 'report.json'), 'utf8')).toBe('{"mine": true}');
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
    const source = readFileSync(join(MEDIA, '..', 'src', 'audit', 'findings.ts'), 'utf8');
    const ids = [
      ...source.matchAll(/id: '([a-z-]+)'/g),
      ...source.matchAll(/\? '(imprint-[a-z]+)' : '(imprint-[a-z]+)'/g),
    ].flatMap(([, ...own]) => own);
    expect(ids.length).toBeGreaterThan(8);
    for (const id of ids) {
      expect(page).toContain(`## ${id}\n`);
    }
  });
});
