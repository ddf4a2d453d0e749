import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { upgradeReport } from '../../src/audit/upgrade-report.js';
import { renderProject } from '../../src/cli/render-project.js';
import { renderReport } from '../../src/cli/render-text.js';
import { toSarif } from '../../src/project/sarif.js';
import { resultOf } from '../../src/project/summarise.js';
import type { ProjectEntry, ProjectReport } from '../../src/protocol/project-report.js';
import type { Report } from '../../src/protocol/report.js';
import { labelInWords } from '../../src/words/label-words.js';
import { STANDING_WORDS, isOpen, standingOfReport } from '../../src/words/outcome-words.js';
import { className, summaryOf } from '../../src/words/report-words.js';
import { GOLDEN, expectGolden, goldenJson, goldenReport } from '../golden/golden.js';
import { projectEntry, projectReport } from '../project-entries.js';
import { GOLDEN_CASES, type GoldenCase } from '../golden/make-cases.js';

/** Every surface says the same: kept reports, word for word. `UPDATE_GOLDEN=1 npx vitest run test/unit/golden.test.ts` keeps anew. */

const scratch = mkdtempSync(join(tmpdir(), 'gradleak-golden-'));
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

const made = new Map<GoldenCase, Promise<Report>>();

/** Each audit once, however many tests look at it. */
function reportOf(golden: GoldenCase): Promise<Report> {
  const own = made.get(golden) ?? goldenReport(golden, scratch);
  made.set(golden, own);
  return own;
}

const inOneLine = (text: string): string => text.replace(/\s+/g, ' ');

/** What a report of an earlier version lacks. */
function asOld(report: Report): Report {
  const { update: _update, methods: _methods, ...old } = structuredClone(report);
  delete old.labelCounts?.confirmedBy;
  for (const { label } of old.samples) {
    delete label.classConfidence;
    delete label.kindConfidence;
    delete label.openKinds;
    delete label.smoothingRange;
    label.classes.forEach((own) => delete own.range);
  }
  return old;
}

describe.each(GOLDEN_CASES.map((golden) => [golden.name, golden] as const))('%s', (name, golden) => {
  let report: Report;
  beforeAll(async () => {
    report = await reportOf(golden);
  });

  it('is the report that was kept', () => {
    expectGolden(`${name}.json`, goldenJson(report));
    expectGolden(`${name}.txt`, renderReport(report));
    expectGolden(`${name}.summary.txt`, `${summaryOf(report)}\n`);
  });

  it('follows the published schema when it is stored, also with details of a later version', () => {
    const stored = JSON.parse(JSON.stringify(report)) as Report;
    expect(upgradeReport(stored)).toBe(stored);
    const later = stored.leaks.map((leak) => ({ ...leak, details: [...leak.details, { type: 'hologram', depth: 3 }] }));
    expect(upgradeReport({ ...stored, leaks: later })).toBeDefined();
  });

  it('says the same in the verdict, the findings, the terminal and the summary', () => {
    const text = inOneLine(renderReport(report));
    const summary = inOneLine(summaryOf(report));
    const standing = STANDING_WORDS[standingOfReport(report)];
    expect(text).toContain(report.verdict.sentence);
    expect(summary).toContain(`${standing}. ${report.verdict.sentence}`);
    if (isOpen(standingOfReport(report))) {
      expect(text.startsWith(`! ${standing.toUpperCase()} `)).toBe(true);
    }
    const told = report.samples.filter(({ status }) => status !== 'not-identifiable');
    const labels = told.map((sample) => labelInWords(sample, (index) => className(report, index)));
    for (const label of labels) {
      expect(text).toContain(label);
      expect(summary).toContain(label);
    }
    const [label] = labels;
    if (label !== undefined && report.samples.length === 1) {
      expect(report.verdict.sentence).toContain(label);
      expect(report.findings.find(({ id }) => id === 'label-recovered')?.evidence).toContain(label);
    }
    for (const { title } of report.findings) {
      expect(text).toContain(title);
      expect(summary).toContain(title);
    }
  });

  it('is still rendered as a report of an earlier version', () => {
    const old = asOld(report);
    expect(renderReport(old)).not.toMatch(/undefined|NaN|null/);
    expect(summaryOf(old)).not.toMatch(/undefined|NaN|null/);
  });
});

describe('a project of all of them', () => {
  const project = async (): Promise<ProjectReport> => {
    const entries: ProjectEntry[] = [];
    for (const golden of GOLDEN_CASES) {
      const report = await reportOf(golden);
      entries.push(
        projectEntry({
          id: golden.name,
          gradients: `${golden.name}/gradients.pt`,
          checkpoint: `${golden.name}/checkpoint.pt`,
          run: golden.name,
          result: resultOf(report),
        }),
      );
    }
    return projectReport(entries);
  };

  it('is told in the terminal and to code scanning as it was kept', async () => {
    const report = await project();
    expectGolden('project/all.sarif', `${JSON.stringify(toSarif(report), null, 2)}\n`);
    expectGolden('project/all.txt', renderProject(report, 'gradleak-report'));
    expectGolden('project/summary.json', `${JSON.stringify(report.summary, null, 2)}\n`);
  });
});

it('no kept report is left of a case that is gone', () => {
  const kept = readdirSync(GOLDEN).filter((file) => file.endsWith('.json'));
  expect(kept.sort()).toEqual(GOLDEN_CASES.map(({ name }) => `${name}.json`).sort());
});
