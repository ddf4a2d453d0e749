import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, it } from 'vitest';

/** What lint cannot see from one file: how folders depend on each other. */

const ROOT = join(import.meta.dirname, '..', '..');

/** For each folder of src/ and webview/, the folders that its files import from. */
function folders(): Map<string, Set<string>> {
  const edges = new Map<string, Set<string>>();
  for (const top of ['src', 'webview']) {
    for (const entry of readdirSync(join(ROOT, top), { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || !entry.name.endsWith('.ts')) {
        continue;
      }
      const own = edges.get(entry.parentPath) ?? new Set<string>();
      edges.set(entry.parentPath, own);
      const text = readFileSync(join(entry.parentPath, entry.name), 'utf8');
      for (const [, path = ''] of text.matchAll(/(?:from|import) ?\(?'(\.[^']*\.js)'/g)) {
        const folder = dirname(normalize(join(entry.parentPath, path)));
        if (folder !== entry.parentPath) {
          own.add(folder);
        }
      }
    }
  }
  return edges;
}

/** The first chain of folders that comes back to where it began; empty where there is none. */
function circleOf(edges: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const done = new Set<string>();
  const visit = (folder: string, path: readonly string[]): string[] => {
    const start = path.indexOf(folder);
    if (start >= 0) {
      return [...path.slice(start), folder];
    }
    if (done.has(folder)) {
      return [];
    }
    for (const next of edges.get(folder) ?? []) {
      const circle = visit(next, [...path, folder]);
      if (circle.length > 0) {
        return circle;
      }
    }
    done.add(folder);
    return [];
  };
  for (const folder of edges.keys()) {
    const circle = visit(folder, []);
    if (circle.length > 0) {
      return circle;
    }
  }
  return [];
}

describe('the rooms', () => {
  it('are found, with what they import', () => {
    const edges = folders();
    expect(edges.size).toBeGreaterThan(20);
    expect([...edges.get(join(ROOT, 'src', 'audit'))!]).toContain(join(ROOT, 'src', 'methods', 'head'));
  });

  it('have no circle between folders', () => {
    expect(circleOf(folders())).toEqual([]);
  });

  it('would be told a circle', () => {
    const edges = new Map([
      ['a', new Set(['b'])],
      ['b', new Set(['c'])],
      ['c', new Set(['b'])],
    ]);
    expect(circleOf(edges)).toEqual(['b', 'c', 'b']);
  });
});
