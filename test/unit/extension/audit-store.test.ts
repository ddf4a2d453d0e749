import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { upgradeReport } from '../../../src/audit/upgrade-report.js';
import { AuditStore } from '../../../src/extension/audit-store.js';
import type { Report } from '../../../src/protocol/report.js';

const folder = mkdtempSync(join(tmpdir(), 'gradleak-store-'));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const OLD = JSON.parse(
  readFileSync(join(import.meta.dirname, '..', '..', 'fixtures', 'reports', 'version-1-language.json'), 'utf8'),
) as Report;

describe('stored audits', () => {
  it('are found again by id, and only our own', () => {
    const store = new AuditStore(join(folder, 'a'), () => []);
    expect(store.latest()).toBeUndefined();
    const { id } = store.create();
    expect(store.read(id)).toBeUndefined();
    const now = upgradeReport(OLD);
    writeFileSync(store.filePath(id, 'report.json'), JSON.stringify(now));
    expect(store.read(id)).toEqual(now);
    // One of an earlier version is told as one of now.
    writeFileSync(store.filePath(id, 'report.json'), JSON.stringify(OLD));
    expect(store.read(id)).toEqual(now);
    writeFileSync(store.filePath(id, 'report.json'), '{"schemaVersion": 2}');
    expect(store.read(id)).toBeUndefined();
    expect(store.latest()).toBe(id);
    writeFileSync(store.filePath(id, 'report.json'), '{"schemaVersion": 7}');
    expect(store.read(id)).toBeUndefined();
    writeFileSync(store.filePath(id, 'report.json'), 'not json');
    expect(store.read(id)).toBeUndefined();
  });

  it('an id from a webview leads nowhere else', () => {
    writeFileSync(join(folder, 'report.json'), '{"schemaVersion": 1}');
    const store = new AuditStore(join(folder, 'b'), () => []);
    for (const id of ['..', '../', '', '/etc', '20260101000000-00000000/../..']) {
      expect(store.read(id)).toBeUndefined();
    }
  });

  it('finds the newest audit of a gradient, among projects too, and none that is older or was stopped', () => {
    const project = join(folder, 'project');
    const store = new AuditStore(join(folder, 'd'), () => [project]);
    const report = (path: string, cancelled = false): string =>
      JSON.stringify({
        ...OLD,
        inputs: { ...OLD.inputs, gradients: { ...OLD.inputs.gradients, path } },
        ...(cancelled ? { cancelled } : {}),
      });
    const { id } = store.create();
    writeFileSync(store.filePath(id, 'report.json'), report('/x/gradient.pt'));
    const entry = 'a'.repeat(20);
    mkdirSync(join(project, 'entries', entry), { recursive: true });
    writeFileSync(join(project, 'entries', entry, 'report.json'), report('/y/gradient.pt'));
    expect(store.newestOf('/x/gradient.pt', 0)?.id).toBe(id);
    expect(store.newestOf('/y/gradient.pt', 0)?.id).toBe(entry);
    expect(store.newestOf('/z/gradient.pt', 0)).toBeUndefined();
    expect(store.newestOf('/x/gradient.pt', Date.now() + 60_000)).toBeUndefined();
    const later = new Date(Date.now() + 5000);
    writeFileSync(store.filePath(id, 'report.json'), report('/x/gradient.pt', true));
    utimesSync(store.filePath(id, 'report.json'), later, later);
    expect(store.newestOf('/x/gradient.pt', 0)).toBeUndefined();
  });

  it('beyond fifty the oldest go', () => {
    const store = new AuditStore(join(folder, 'c'), () => []);
    for (let count = 0; count < 60; count++) {
      store.create();
    }
    expect(readdirSync(join(folder, 'c')).length).toBe(50);
  });
});
