import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Log } from 'sarif';
import { afterAll, describe, expect, it, vi } from 'vitest';
import type * as Audit from '../../../src/audit/run-audit.js';
import {
  EXIT,
  EXIT_TABLE,
  type RunFacts,
  exitCode,
  factsOfProject,
  factsOfReport,
} from '../../../src/cli/exit-code.js';
import { runCli } from '../../../src/cli/main.js';
import type { ProjectReport, ProjectSummary } from '../../../src/protocol/project-report.js';
import type { Report, Verdict } from '../../../src/protocol/report.js';

const ROOT = join(import.meta.dirname, '..', '..', '..');
const DUMPS = join(ROOT, 'test', 'fixtures', 'dumps');
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-exit-'));
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

const amended = vi.hoisted(() => ({ outcome: undefined as Verdict['outcome'] | undefined }));
vi.mock('../../../src/audit/run-audit.js', async (original) => {
  const real = await original<typeof Audit>();
  return {
    ...real,
    runAudit: async (...args: Parameters<typeof real.runAudit>) => {
      const result = await real.runAudit(...args);
      const { outcome } = amended;
      const verdict = outcome === undefined ? result.report.verdict : { outcome, sentence: 'Nobody can tell.' };
      return { ...result, report: { ...result.report, verdict } };
    },
  };
});

describe('the exit code', () => {
  const facts: readonly (keyof RunFacts)[] = ['cancelled', 'fault', 'finding', 'unusable', 'notAssessed'];

  it('is the first of the table that applies, whatever else does', () => {
    const codes = facts.map((fact) => EXIT[fact]);
    expect(codes).toEqual([130, 3, 1, 2, 4]);
    for (let mask = 0; mask < 2 ** facts.length; mask++) {
      const own = facts.filter((_, at) => (mask >> at) & 1);
      const expected = own.length === 0 ? 0 : codes[facts.indexOf(own[0]!)];
      expect(exitCode(Object.fromEntries(own.map((fact) => [fact, true]))), own.join()).toBe(expected);
    }
    expect(EXIT_TABLE.map(([code]) => code)).toEqual([...codes, 0]);
  });

  const finding = { id: 'x', severity: 'high' as const, title: '', evidence: '', mitigation: '' };
  it.each<[Verdict['outcome'], Report['findings'], 'high' | undefined, number]>([
    ['leaks', [finding], undefined, 0],
    ['leaks', [finding], 'high', 1],
    ['counts', [{ ...finding, severity: 'medium' }], 'high', 0],
    ['none', [], 'high', 0],
    ['not-assessed', [], undefined, 4],
    ['not-assessed', [], 'high', 4],
    ['not-assessed', [finding], 'high', 1],
    ['mismatch', [], undefined, 2],
    ['mismatch', [finding], undefined, 2],
    ['mismatch', [finding], 'high', 1],
  ])('of an audit that came to %s with %j and --fail-on %s is %i', (outcome, findings, failOn, code) => {
    expect(exitCode(factsOfReport({ verdict: { outcome, sentence: '' }, findings }, failOn))).toBe(code);
    expect(exitCode(factsOfReport({ verdict: { outcome, sentence: '' }, findings, cancelled: true }, failOn))).toBe(
      130,
    );
  });

  it.each<[Partial<ProjectSummary>, 'high' | undefined, number]>([
    [{ dumps: 3, done: 3, nothing: 3 }, 'high', 0],
    [{ dumps: 3, done: 3, leaking: 3 }, undefined, 0],
    [{ dumps: 3, done: 3, leaking: 3 }, 'high', 1],
    [{ dumps: 3, done: 3, notAssessed: 1, nothing: 2 }, undefined, 4],
    [{ dumps: 3, done: 2, failed: 1, nothing: 2 }, undefined, 4],
    [{ dumps: 3, done: 2, failed: 1, leaking: 2 }, 'high', 1],
    [{ dumps: 3, failed: 3 }, 'high', 4],
    [{ dumps: 3, done: 3, mismatched: 1, notAssessed: 1 }, undefined, 2],
    [{ dumps: 0 }, undefined, 2],
  ])('of a project with %j and --fail-on %s is %i', (counts, failOn, code) => {
    const none = { done: 0, failed: 0, leaking: 0, estimated: 0, nothing: 0, notAssessed: 0, mismatched: 0 };
    const summary = { ...none, ...counts } as ProjectSummary;
    const entries = (counts.leaking ? [{ result: { findings: [finding] } }] : []) as ProjectReport['entries'];
    expect(exitCode(factsOfProject({ status: 'complete', summary, entries, skipped: [] }, failOn))).toBe(code);
    expect(exitCode(factsOfProject({ status: 'cancelled', summary, entries, skipped: [] }, failOn))).toBe(130);
  });

  it('is documented in one table: help and docs', async () => {
    const docs = readFileSync(join(ROOT, 'docs', 'findings.md'), 'utf8');
    const rows = [...docs.matchAll(/^\| (\d+) +\| (.+?) +\|$/gm)].map(([, code, meaning]) => [Number(code), meaning]);
    expect(rows).toEqual(EXIT_TABLE);
    let help = '';
    await runCli(['--help'], { ...quiet, print: (text) => (help += text) });
    for (const [code, meaning] of EXIT_TABLE) {
      expect(help).toContain(`${code}  ${meaning}\n`);
    }
    const readme = readFileSync(join(ROOT, 'README.md'), 'utf8').replace(/\s+/g, ' ');
    const listed = /Exit codes, the first that applies: (.*?)\(/.exec(readme)?.[1] ?? '';
    expect([...listed.matchAll(/(?:^|, )(\d+) /g)].map(([, code]) => Number(code))).toEqual(
      EXIT_TABLE.map(([code]) => code),
    );
  });
});

const quiet = {
  print: () => undefined,
  printError: () => undefined,
  progress: () => undefined,
  cancelled: () => false,
  columns: undefined,
};

describe('gradleak audit', () => {
  it.each<[Verdict['outcome'], string[], number, RegExp]>([
    ['not-assessed', [], 4, /^gradleak: not assessed: Nobody can tell\.\n$/],
    ['not-assessed', ['--fail-on', 'critical'], 4, /not assessed/],
    ['not-assessed', ['--fail-on', 'high'], 1, /not assessed/],
    ['mismatch', [], 2, /does not fit/],
    // What the file gives away is bad news, whether or not it is of this checkpoint.
    ['mismatch', ['--fail-on', 'high'], 1, /does not fit/],
    ['none', [], 0, /^$/],
  ])('that came to %s with %j exits %i', async (outcome, options, code, said) => {
    amended.outcome = outcome;
    let err = '';
    const own = await runCli(['audit', join(DUMPS, 'k10_hard_bias_default'), '--attack', 'none', ...options], {
      ...quiet,
      printError: (text) => (err += text),
    });
    amended.outcome = undefined;
    expect(own).toBe(code);
    expect(err).toMatch(said);
  });

  it('of a project exits by the same table', () => {
    const project = join(scratch, 'project');
    cpSync(join(DUMPS, 'k10_hard_bias_default'), join(project, 'good'), { recursive: true });
    cpSync(join(DUMPS, 'k10_hard_bias_default'), join(project, 'bad'), { recursive: true });
    writeFileSync(join(project, 'bad', 'truth.json'), 'no truth');
    const cli = (folder: string, ...options: string[]): { status: number | null; stderr: string; stdout: string } =>
      spawnSync(process.execPath, [join(ROOT, 'dist', 'cli.js'), 'audit', folder, ...options], { encoding: 'utf8' });
    const mixed = cli(project);
    expect(mixed).toMatchObject({ status: 4, stderr: 'gradleak: not assessed: 1 of 2 gradients\n' });
    expect(mixed.stdout).toContain('could not be audited');
    expect(cli(project, '--fail-on', 'high').status).toBe(1);
    expect(cli(project, '--exclude', 'bad/**').status).toBe(0);
    const none = cli(project, '--exclude', 'good/**');
    expect(none.status).toBe(4);
    expect(none.stdout).toContain('None of 1 gradient could be assessed');
    expect(cli(project, '--exclude', '**').status).toBe(2);
    // A gradient whose checkpoint is not here was not looked at, which is no clean result.
    cpSync(join(DUMPS, 'k100_hard_bias_default', 'gradient.pt'), join(project, 'alone', 'gradient.pt'));
    const alone = cli(project, '--exclude', 'bad/**');
    expect(alone).toMatchObject({ status: 4, stderr: 'gradleak: not assessed: 1 of 2 gradients\n' });
    const sarif = JSON.parse(readFileSync(join(project, 'gradleak-report', 'report.sarif'), 'utf8')) as Log;
    const [invocation] = sarif.runs[0]!.invocations!;
    expect(invocation).toMatchObject({ executionSuccessful: false });
    expect(JSON.stringify(invocation)).toContain('alone/gradient.pt');
  }, 60_000);
});
