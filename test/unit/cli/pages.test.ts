import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { renderHtml, renderProjectHtml } from '../../../src/project/render-html.js';
import { renderSarif } from '../../../src/project/sarif.js';
import { resultOf } from '../../../src/project/summarise.js';
import type { ProjectEntry, ProjectReport } from '../../../src/protocol/project-report.js';
import type { Report } from '../../../src/protocol/report.js';
import type { ProjectPage } from '../../../src/protocol/summary-messages.js';
import { projectEntry, projectReport } from '../../project-entries.js';

/** Pages and logs that are passed on: they name files, and not where those lie. */

const SECRET = 'jane-doe-secret';
const root = mkdtempSync(join(tmpdir(), `${SECRET} `));
const bundles = join(root, 'bundles');
const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures');
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

let report: Report;

beforeAll(async () => {
  mkdirSync(bundles);
  for (const name of ['page-theme.css', 'panel.css', 'panel.js', 'summary.css', 'summary.js']) {
    writeFileSync(join(bundles, name), '');
  }
  const folder = join(root, 'runs', 'step 1');
  cpSync(join(FIXTURES, 'dumps', 'k10_hard_bias_default'), folder, { recursive: true });
  // A recipe that does not fit, so that sentences name files of the dump.
  writeFileSync(join(folder, 'recipe.json'), '{');
  ({ report } = await runAudit(
    {
      checkpoint: join(folder, 'checkpoint.pt'),
      gradients: join(folder, 'gradient.pt'),
      truth: join(folder, 'truth.json'),
      method: 'auto',
      reconstruction: { attack: 'chain', engine: 'auto', preset: 'soft-label', timeLimitSeconds: 60 },
    },
    { progress: () => undefined, pause: () => Promise.resolve() },
  ));
}, 120_000);

function embedded(page: string): Record<string, unknown> {
  const [, data = ''] = /<script type="application\/json" id="gradleak-report">(.*)<\/script>/.exec(page) ?? [];
  return JSON.parse(data) as Record<string, unknown>;
}

function project(): ProjectReport {
  const entry = projectEntry({
    id: 'a'.repeat(20),
    gradients: 'runs/step 1/gradient.pt',
    checkpoint: 'runs/step 1/checkpoint.pt',
    run: 'runs',
    round: 1,
    script: { file: join(root, 'src', 'train.py'), line: 7 },
    result: resultOf(report),
  });
  const entries: ProjectEntry[] = [
    entry,
    { ...entry, id: 'b'.repeat(20), script: { file: join(tmpdir(), SECRET, 'elsewhere'), line: 3 } },
    {
      ...entry,
      id: 'c'.repeat(20),
      status: 'failed',
      result: null,
      problem: `${join(root, 'runs', 'gradient.pt')}: found nothing; expected ${join(root, 'checkpoint.pt')}.`,
    },
  ];
  return projectReport(entries, {
    root,
    skipped: [{ path: 'x.pt', reason: `${join(root, 'x.pt')}: found a hole`, isGradient: true }],
  });
}

describe('absolute paths', () => {
  it('are in a report, which is the user’s own', () => {
    expect(JSON.stringify(report).split(SECRET).length).toBeGreaterThan(4);
  });

  it('are not in the page of a report', () => {
    const page = renderHtml(report, [], { bundles });
    expect(page).not.toContain(SECRET);
    expect(page).not.toContain(JSON.stringify(tmpdir()).slice(1, -1));
    expect(embedded(page)).toMatchObject({
      report: {
        inputs: { checkpoint: { path: 'checkpoint.pt' }, gradients: { path: 'gradient.pt' } },
        verdict: report.verdict,
      },
    });
  });

  it('are not in the page of a project, but for the name of its folder', () => {
    const page = renderProjectHtml(project(), [], { bundles });
    expect(page).not.toContain(JSON.stringify(tmpdir()).slice(1, -1));
    const { report: own } = embedded(page) as unknown as ProjectPage;
    expect(root.endsWith(own.root)).toBe(true);
    expect(own.entries.map(({ script }) => script)).toEqual([
      { file: 'src/train.py', line: 7 },
      { file: 'elsewhere', line: 3 },
      { file: 'src/train.py', line: 7 },
    ]);
    expect(own.entries[2]?.problem).toBe(`${join('runs', 'gradient.pt')}: found nothing; expected checkpoint.pt.`);
    expect(own.skipped[0]?.reason).toBe('x.pt: found a hole');
    expect(own.entries[0]?.result).toEqual(JSON.parse(JSON.stringify(resultOf(report))));
  });

  it('are not in SARIF, where a script elsewhere is told on the dump', () => {
    const text = renderSarif(project());
    expect(text).not.toContain(SECRET);
    expect(text).not.toContain('file:');
    const places = [...text.matchAll(/"uri": "([^"]*)",\s*"uriBaseId": "ROOT"/g)].map(([, uri]) => uri);
    expect(new Set(places)).toEqual(new Set(['src/train.py', 'runs/step%201/gradient.pt', 'x.pt']));
  });
});
