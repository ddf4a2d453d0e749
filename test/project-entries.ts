import { summarise } from '../src/project/summarise.js';
import type { EntryResult, ProjectEntry, ProjectReport } from '../src/protocol/project-report.js';

/** A project and its entries as tests want them: all that a test does not speak of. */

export function entryResult(own: Partial<EntryResult> = {}): EntryResult {
  return {
    outcome: 'leaks',
    sentence: '',
    severity: 'high',
    findings: [],
    samples: 1,
    labels: 1,
    features: 1,
    exactInputs: 0,
    closeInputs: 0,
    tokens: 0,
    kinds: {},
    layers: [],
    truth: null,
    ...own,
  };
}

export function projectEntry(own: Partial<ProjectEntry> = {}): ProjectEntry {
  return {
    id: 'a',
    gradients: 'gradients.pt',
    checkpoint: 'checkpoint.pt',
    fit: 1,
    run: '',
    round: null,
    script: null,
    truth: null,
    network: null,
    status: 'done',
    problem: null,
    result: null,
    change: 'new',
    ...own,
  };
}

export function projectReport(entries: ProjectEntry[], own: Partial<ProjectReport> = {}): ProjectReport {
  return {
    schemaVersion: 1,
    tool: { name: 'gradleak', version: '0.0.0' },
    root: '/project',
    finished: '2026-01-01T00:00:00.000Z',
    status: 'complete',
    entries,
    skipped: [],
    summary: summarise(entries),
    ...own,
  };
}
