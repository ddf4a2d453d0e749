import { cpSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { METHODS } from '../../../src/audit/registry.js';
import { runAudit } from '../../../src/audit/run-audit.js';
import { upgradeReport } from '../../../src/audit/upgrade-report.js';
import { renderReport } from '../../../src/cli/render-text.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import { resultOf } from '../../../src/project/summarise.js';
import type { Report } from '../../../src/protocol/report.js';
import { summaryOf } from '../../../src/words/report-words.js';

/** Reports that version 0.2.0 wrote. */

const ROOT = join(import.meta.dirname, '..', '..', '..');
const FIXTURES = join(ROOT, 'test', 'fixtures');
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };

function stored(name: string): Report {
  const text = readFileSync(join(FIXTURES, 'reports', `version-1-${name}.json`), 'utf8');
  return upgradeReport(JSON.parse(text))!;
}

/** What reports say in sentences of their own, which later versions word otherwise. */
const PROSE = new Set([
  'assumption',
  'assumes',
  'detail',
  'evidence',
  'explanation',
  'mitigation',
  'reason',
  'reasons',
  'sentence',
  'title',
]);

/** The same without sentences, and without the steps that later versions offer. */
function withoutProse(report: Report): Report {
  return JSON.parse(
    JSON.stringify({ ...report, next: undefined }, (key, value: unknown) =>
      PROSE.has(key) ? (Array.isArray(value) ? [] : value === undefined ? undefined : '(said)') : value,
    ),
  ) as Report;
}

describe('a report of schema version 1', () => {
  it.each([
    ['language', 'leaks/language'],
    ['imprint', 'leaks/imprint'],
    ['mlp', 'networks/mlp'],
    ['batch6_bias', 'dumps/batch6_bias'],
  ])('of %s tells in every view what the same audit tells today', async (name, folder) => {
    const old = stored(name);
    const reconstruction = {
      // What a hidden layer tells of a batch leads to inputs now, of which that version knew nothing.
      attack: name === 'batch6_bias' ? 'none' : 'chain',
      preset: 'soft-label',
      engine: 'auto',
      timeLimitSeconds: 60,
    } as const;
    // Those reports knew nothing of a truth beside the gradient.
    const dump = mkdtempSync(join(tmpdir(), 'gradleak-upgrade-'));
    cpSync(join(FIXTURES, folder), dump, { recursive: true, filter: (path) => !path.endsWith('truth.json') });
    const request = { ...pathsInFolder(dump), method: 'auto', reconstruction } as const;
    // Nor did that version know of methods that came since.
    const methods = METHODS.filter(({ id }) => old.methods?.some((own) => own.id === id) ?? true);
    const { report: now } = await runAudit(request, hooks, { methods });
    const plain = (report: Report): string =>
      renderReport(withoutProse(report))
        .replaceAll(dump, 'dump')
        .replaceAll(`test/fixtures/${folder}`, 'dump')
        .replace(/ in \d+\.\d s\./g, ' in T s.')
        .replace(/^(checkpoint|gradients) .*$/gm, '$1')
        .replace(/\nread [^\n]*\n$/, '')
        // Paths of other lengths break lines elsewhere.
        .replace(/\s+/g, ' ');
    expect(plain(old)).toBe(plain(now));
    const lines = (report: Report): string[] =>
      summaryOf(withoutProse(report))
        .split('\n')
        .filter((line) => !/^(Checkpoint|Gradient): /.test(line));
    expect(lines(old)).toEqual(lines(now));
    const { sentence: _one, ...before } = resultOf(withoutProse(old));
    const { sentence: _other, ...after } = resultOf(withoutProse(now));
    expect(before).toEqual(after);
  });

  it('of another version, or of something else, is none of ours', () => {
    expect(upgradeReport({ schemaVersion: 3 })).toBeUndefined();
    expect(upgradeReport({ schemaVersion: '1' })).toBeUndefined();
    expect(upgradeReport(null)).toBeUndefined();
    expect(upgradeReport('report')).toBeUndefined();
  });

  it('that lacks what a report has, or holds something else in its place, is none of ours', () => {
    const path = join(FIXTURES, 'reports', 'version-1-language.json');
    const old = JSON.parse(readFileSync(path, 'utf8')) as object;
    expect(upgradeReport(old)).toBeDefined();
    for (const wrong of [
      { embeddings: 7 },
      { embeddings: [null] },
      { samples: {} },
      { verdict: 'leaks' },
      { inputs: null },
    ]) {
      expect(upgradeReport({ ...old, ...wrong })).toBeUndefined();
    }
    const now = upgradeReport(old)!;
    expect(upgradeReport({ ...now, later: 1 })).toBeDefined();
    for (const wrong of [
      { leaks: undefined },
      { findings: [{ severity: 'mild' }] },
      { batch: [] },
      { schemaVersion: 1.5 },
    ]) {
      expect(upgradeReport({ ...now, ...wrong })).toBeUndefined();
    }
  });

  it('keeps the numbers that were not finite, which JSON stores as null', () => {
    const now = stored('mlp');
    const [sample] = now.samples;
    const value: unknown = JSON.parse(
      JSON.stringify({ ...now, samples: [{ ...sample, residualFloor: Infinity, scalar: NaN }] }),
    );
    expect(upgradeReport(value)?.samples[0]).toMatchObject({ residualFloor: null, scalar: null });
  });
});
