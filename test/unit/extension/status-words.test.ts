import { describe, expect, it } from 'vitest';
import { type AuditState, statusOf } from '../../../src/extension/status-words.js';
import { summarise } from '../../../src/project/summarise.js';
import { entryResult, projectEntry } from '../../project-entries.js';

const LAST = {
  id: 'a',
  made: Date.parse('2026-01-02'),
  gradients: '/run/gradient.pt',
  standing: 'leaks',
  severity: 'high',
  sentence: 'All is known.',
} as const;
const NOTHING: AuditState = { running: [], projectProgress: null, last: undefined, project: undefined };

function run(id: string, fraction: number): AuditState['running'][number] {
  return { id, gradients: `/run/${id}.pt`, progress: { stage: 'read', message: 'Reading the head', fraction } };
}

describe('the status bar', () => {
  it('says nothing before the first audit', () => {
    expect(statusOf(NOTHING)).toBeUndefined();
  });

  it('says how far the newest audit is, and leads to it', () => {
    const status = statusOf({ ...NOTHING, last: LAST, running: [run('b', 0.456), run('c', 0.1)] });
    expect(status?.text).toBe('$(loading~spin) GradLeak: 46 % b.pt and 1 more');
    expect(status?.tooltip).toContain('Reading the head');
    expect(status?.command).toMatchObject({ command: 'gradleak.showAudit', arguments: ['b'] });
  });

  it('says how far the workspace is', () => {
    const status = statusOf({ ...NOTHING, last: LAST, projectProgress: { done: 3, of: 30, message: 'k10' } });
    expect(status?.text).toBe('$(loading~spin) GradLeak: 3 of 30');
    expect(status?.command.command).toBe('gradleak.showSummary');
  });

  it.each([
    ['leaks', 'high', '$(error) GradLeak: Leaks'],
    ['leaks', 'medium', '$(warning) GradLeak: Leaks'],
    ['nothing', null, '$(pass) GradLeak: Nothing found'],
    ['nothing', 'low', '$(warning) GradLeak: Nothing found'],
    ['not-assessed', null, '$(question) GradLeak: Not assessed'],
    ['mismatch', null, '$(circle-slash) GradLeak: Files do not fit'],
    ['estimate', 'low', '$(warning) GradLeak: Counts estimated'],
  ] as const)('says how the last one came out: %s, %s', (standing, severity, text) => {
    const status = statusOf({ ...NOTHING, last: { ...LAST, standing, severity } });
    expect(status?.text).toBe(text);
    expect(status?.tooltip).toBe('Last audit, of /run/gradient.pt: All is known.');
    expect(status?.command).toMatchObject({ command: 'gradleak.showAudit', arguments: ['a'] });
  });

  it('speaks of the workspace where that was audited last, and calmly only of what is clean', () => {
    const summary = summarise([projectEntry({ result: entryResult() }), projectEntry({ id: 'b', status: 'failed' })]);
    const project = { summary, status: 'complete', finished: '2026-01-03' } as const;
    expect(statusOf({ ...NOTHING, last: LAST, project })?.text).toBe('$(error) GradLeak: 1 of 2 leak');
    expect(statusOf({ ...NOTHING, last: LAST, project: { ...project, finished: '2026-01-01' } })?.text).toContain(
      'Leaks',
    );
    const failed = summarise([projectEntry({ status: 'failed' })]);
    expect(statusOf({ ...NOTHING, project: { ...project, summary: failed } })?.text).toContain('$(question)');
    const clean = summarise([projectEntry({ result: entryResult({ outcome: 'none', severity: null }) })]);
    expect(statusOf({ ...NOTHING, project: { ...project, summary: clean } })?.text).toContain('$(pass)');
    expect(statusOf({ ...NOTHING, project: { ...project, summary: clean, status: 'cancelled' } })?.text).toContain(
      '$(question)',
    );
  });

  it('draws no icon that a file is named after', () => {
    const hostile = { ...run('b', 0), gradients: '/run/$(pass) clean.pt' };
    expect(statusOf({ ...NOTHING, running: [hostile] })?.text).toContain('\\$(pass)');
  });
});
