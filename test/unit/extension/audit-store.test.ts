import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
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

function reportOf(gradients: string): string {
  const { inputs } = OLD;
  return JSON.stringify({
    ...OLD,
    inputs: {
      gradients: { ...inputs.gradients, path: gradients },
      checkpoint: { ...inputs.gradients, path: '/x/checkpoint.pt' },
    },
  });
}

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
    expect(store.latest()?.id).toBe(id);
    writeFileSync(store.filePath(id, 'report.json'), '{"schemaVersion": 2}');
    expect(store.read(id)).toBeUndefined();
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

  it('are listed newest first, with what their reports say, and one without a report is not', () => {
    const store = new AuditStore(join(folder, 'e'), () => []);
    const write = (stamp: string, gradients: string): string => {
      const id = `${stamp}-00000000`;
      mkdirSync(join(folder, 'e', id), { recursive: true });
      writeFileSync(join(folder, 'e', id, 'report.json'), reportOf(gradients));
      return id;
    };
    const older = write('20260101000000', '/x/gradient.pt');
    const newer = write('20260102000000', '/y/gradient.pt');
    mkdirSync(join(folder, 'e', '20260103000000-00000000'));
    expect(store.list().map(({ id }) => id)).toEqual([newer, older]);
    expect(store.latest()).toMatchObject({
      id: newer,
      gradients: '/y/gradient.pt',
      checkpoint: '/x/checkpoint.pt',
      standing: 'leaks',
      sentence: upgradeReport(OLD)?.verdict.sentence,
      isStopped: false,
    });
    // What has changed on disk is read anew, and what is gone is not listed.
    writeFileSync(join(folder, 'e', newer, 'report.json'), reportOf('/z/gradient.pt'));
    const later = new Date(Date.now() + 5000);
    utimesSync(join(folder, 'e', newer, 'report.json'), later, later);
    expect(store.latest()?.gradients).toBe('/z/gradient.pt');
    store.remove(newer);
    expect(store.list().map(({ id }) => id)).toEqual([older]);
  });

  it('are found by either of their files, the newest first, among projects too', () => {
    const project = join(folder, 'project-with');
    const store = new AuditStore(join(folder, 'f'), () => [project]);
    const { id } = store.create();
    writeFileSync(store.filePath(id, 'report.json'), reportOf('/x/gradient.pt'));
    expect(store.newestWith('/x/gradient.pt')?.id).toBe(id);
    expect(store.newestWith('/x/checkpoint.pt')?.id).toBe(id);
    expect(store.newestWith('/x/other.pt')).toBeUndefined();
    const entry = join(project, 'entries', 'b'.repeat(20));
    mkdirSync(entry, { recursive: true });
    writeFileSync(join(entry, 'report.json'), reportOf('/y/gradient.pt'));
    const later = new Date(Date.now() + 5000);
    utimesSync(join(entry, 'report.json'), later, later);
    expect(store.newestWith('/x/checkpoint.pt')?.id).toBe('b'.repeat(20));
    expect(store.newestWith('/x/gradient.pt')?.id).toBe(id);
  });

  it('know what they were asked for, and take nothing else for it', () => {
    const store = new AuditStore(join(folder, 'g'), () => []);
    const { id } = store.create();
    expect(store.request(id)).toBeUndefined();
    const request = { gradients: '/x/gradient.pt', method: 'auto', batchSize: 4 } as const;
    store.keepRequest(id, request);
    expect(store.request(id)).toEqual(request);
    for (const other of ['not json', '{"gradients": 7, "method": "auto"}', '{"gradients": "x", "method": "other"}']) {
      writeFileSync(store.filePath(id, 'request.json'), other);
      expect(store.request(id)).toBeUndefined();
    }
    expect(store.request('..')).toBeUndefined();
  });

  it('may be deleted one by one where they are single, and nowhere else', () => {
    const store = new AuditStore(join(folder, 'h'), () => [join(folder, 'project-own')]);
    const { id } = store.create();
    expect(store.ownFolder(id)).toBe(join(folder, 'h', id));
    for (const other of ['c'.repeat(20), '..', '', `${id}/..`]) {
      expect(store.ownFolder(other)).toBeUndefined();
    }
  });

  it('beyond fifty the oldest go, unless something runs on them', () => {
    const used = new Set<string>();
    const store = new AuditStore(
      join(folder, 'i'),
      () => [],
      (id) => used.has(id),
    );
    const old = ['20200101000000-00000000', '20200102000000-00000000'];
    old.forEach((id) => mkdirSync(join(folder, 'i', id), { recursive: true }));
    used.add(old[0]!);
    Array.from({ length: 50 }, () => store.create());
    expect(old.map((id) => existsSync(join(folder, 'i', id)))).toEqual([true, false]);
    used.clear();
    store.create();
    expect(existsSync(join(folder, 'i', old[0]!))).toBe(false);
  });

  it('beyond fifty the oldest go', () => {
    const store = new AuditStore(join(folder, 'c'), () => []);
    for (let count = 0; count < 60; count++) {
      store.create();
    }
    expect(readdirSync(join(folder, 'c')).length).toBe(50);
  });
});
