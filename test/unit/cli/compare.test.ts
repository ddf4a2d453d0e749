import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Comparison, ProjectComparison } from '../../../src/protocol/comparison.js';
import { writeNoisy } from '../../golden/make-cases.js';
import { NETWORKS } from '../../networks.js';
import { cli } from '../../run-cli.js';

/** Audits by the command, and their results compared by it. */

const ROOT = join(import.meta.dirname, '..', '..', '..');
const MLP = join(NETWORKS, 'mlp');
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-compare-cli-'));
const at = (name: string): string => join(scratch, name);
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

/** A copy of a dump with noise on its gradient. */
function noisy(name: string, deviation: number): string {
  mkdirSync(at(name), { recursive: true });
  copyFileSync(join(MLP, 'checkpoint.pt'), join(at(name), 'checkpoint.pt'));
  writeNoisy(join(MLP, 'gradient.pt'), join(at(name), 'gradient.safetensors'), deviation);
  return at(name);
}

beforeAll(async () => {
  await cli('audit', MLP, '--attack', 'chain', '--out', at('plain'));
  await cli('audit', MLP, '--attack', 'none', '--out', at('labels'));
  await cli('audit', noisy('dump', 0.1), '--attack', 'chain', '--out', at('noisy'));
}, 60_000);

describe('gradleak compare', () => {
  it('says what a defence left, and that what it hid was not looked for', async () => {
    const { code, out, err } = await cli('compare', at('plain'), at('noisy'), '--fail-on', 'critical');
    expect({ code, err }).toEqual({ code: 4, err: 'gradleak: not assessed in both: 1 of 1 gradient\n' });
    const text = out.replace(/\s+/g, ' ');
    expect(text).toContain('These are two different gradients');
    expect(text).toContain('1 not assessed in B; 1 the same; 1 less in B.');
    expect(text).toContain(
      'critical Input of class 2: not assessed in B A: exact, by the closed form; B: The label is',
    );
    expect(text).toContain(
      'low Label of class 2: less in B A: smoothed, epsilon = 0.1000, confidence > 0.999; B: a guess',
    );
    expect(text).not.toContain('gone in');
  });

  it('exits 1 where more leaks than before, at the severity that was asked about', async () => {
    expect((await cli('compare', at('noisy'), at('plain'), '--fail-on', 'critical')).code).toBe(1);
    expect((await cli('compare', at('labels'), at('plain'), '--fail-on', 'high')).code).toBe(1);
    expect((await cli('compare', at('labels'), at('plain'))).code).toBe(0);
    expect((await cli('compare', at('plain'), at('labels'), '--fail-on', 'high')).code).toBe(4);
  });

  it('exits 0 for the same twice, by folder or by file of any name', async () => {
    copyFileSync(join(at('plain'), 'report.json'), at('before.json'));
    const { code, out, err } = await cli('compare', at('before.json'), at('plain'), '--fail-on', 'low');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toContain('Both audits are of the same gradient.');
  });

  it('gives the comparison as JSON', async () => {
    const comparison = JSON.parse((await cli('compare', at('plain'), at('labels'), '--json')).out) as Comparison;
    expect(comparison).toMatchObject({ schemaVersion: 1, gradients: 'same', checkpoints: 'same' });
    expect(comparison.leaks[0]).toEqual({
      what: 'Input',
      of: 'class 2',
      change: 'unassessed-b',
      a: { state: 'found', severity: 'critical', detail: 'exact, by the closed form' },
      b: { state: 'not-assessed', severity: null, detail: 'Reconstruction of inputs was not asked for.' },
    });
  });

  it.each([
    [['one'], 'found 1 results'],
    [[at('plain'), at('nowhere')], 'nowhere: found nothing; expected the report of an audit or of a project'],
    [[at('plain'), at('plain'), at('plain')], 'found 3 results'],
    [[at('plain'), at('labels'), '--fail-on', 'severe'], '--fail-on severe'],
  ])('refuses %j in a sentence', async (args, said) => {
    const { code, err } = await cli('compare', ...args);
    expect(code).toBe(2);
    expect(err).toContain(said);
  });

  it('refuses what is no report of ours', async () => {
    writeFileSync(at('other.json'), '{"schemaVersion": 2}');
    writeFileSync(at('no.json'), 'no JSON');
    for (const name of ['other.json', 'no.json']) {
      const { code, err } = await cli('compare', at('plain'), at(name));
      expect(code).toBe(2);
      expect(err).toContain(`${name}: found `);
    }
  });
});

describe('gradleak compare of two projects', () => {
  const run = (...args: string[]): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(process.execPath, [join(ROOT, 'dist', 'cli.js'), ...args], { encoding: 'utf8' });

  it('pairs gradients by their paths, before a defence and with it', () => {
    for (const side of ['before', 'after']) {
      cpSync(MLP, join(at(side), 'r1'), { recursive: true });
      cpSync(MLP, join(at(side), 'r2'), { recursive: true });
      rmSync(join(at(side), 'r2', 'gradient.pt'));
      writeNoisy(join(MLP, 'gradient.pt'), join(at(side), 'r2', 'gradient.safetensors'), side === 'after' ? 0.1 : 0);
      expect(run('audit', at(side), '--out', at(`${side}-results`)).status).toBe(0);
    }
    const { status, stdout, stderr } = run('compare', at('before-results'), at('after-results'), '--fail-on', 'low');
    expect({ status, stderr }).toEqual({ status: 4, stderr: 'gradleak: not assessed in both: 1 of 2 gradients\n' });
    const text = stdout.replace(/\s+/g, ' ');
    expect(text).toContain(
      '2 gradients: 1 with leaks that were not assessed in B; 1 with leaks that are gone or less in B.',
    );
    expect(text).toContain('r2/gradient.safetensors These are two different gradients');
    expect(text).toContain('1 more without a difference');

    const json = JSON.parse(
      run('compare', at('before-results'), join(at('after-results'), 'report.json'), '--json').stdout,
    ) as ProjectComparison;
    expect(json.entries.map(({ gradients }) => gradients).sort()).toEqual([
      'r1/gradient.pt',
      'r2/gradient.safetensors',
    ]);
    expect(run('compare', at('before-results'), at('plain')).status).toBe(2);

    // Reports that are gone leave their gradients open.
    renameSync(join(at('after-results'), 'entries'), at('moved'));
    const gone = run('compare', at('before-results'), at('after-results'));
    expect(gone.status).toBe(4);
    expect(gone.stdout.replace(/\s+/g, ' ')).toContain('The report of this audit is not beside the project’s.');
    expect(gone.stdout).not.toContain('gone in B');
  }, 120_000);
});
