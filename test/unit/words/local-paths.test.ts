import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { withoutLocalPaths } from '../../../src/words/local-paths.js';

const short = (text: string, ...folders: string[]): string => withoutLocalPaths(text, folders, '/home/jane');

describe('paths of this machine', () => {
  it.each([
    ['a file of the project', '/srv/p/runs/1/gradient.pt', 'runs/1/gradient.pt'],
    ['one of any ending', '/srv/p/runs/1/gradient.weird', 'runs/1/gradient.weird'],
    ['the project', 'in "/srv/p".', 'in "p".'],
    ['two in one sentence', 'either /srv/p/a b.pt or /srv/p/c/d.pt', 'either a b.pt or c/d.pt'],
    ['a file elsewhere', '/mnt/Jane Doe/x y/g.pt: found', 'g.pt: found'],
    ['a file of a server', '\\\\server\\share\\g.pt', 'g.pt'],
    ['a file of Windows', 'C:\\Users\\Jane Doe\\g.onnx: found', 'g.onnx: found'],
    ['a folder at home', 'not installed in /home/jane/tfjs', 'not installed in ~/tfjs'],
  ])('%s', (_, text, wanted) => {
    expect(short(text, '/srv/p')).toBe(wanted);
  });

  it('of a project on Windows', () => {
    expect(short('C:\\p (1)\\runs\\g.pt, C:\\p (1)', 'C:\\p (1)')).toBe('runs\\g.pt, p (1)');
  });

  it('takes the first folder that holds a file', () => {
    expect(short('/srv/p/runs/1/g.pt', '/srv/p', '/srv/p/runs/1')).toBe('runs/1/g.pt');
    expect(short('/data/d/g.pt', '/srv/p', '/data/d')).toBe('g.pt');
  });

  it.each([
    'runs/1/gradient.pt',
    'a neighbour of the project, /srv/p-2',
    'see https://x.y/srv/p/a.json',
    'the node /fc/Gemm of model.onnx, and/or /layer1/layer1.0/conv1/Conv',
    '1/2 of 3/4',
  ])('leaves what is none: %s', (text) => {
    expect(short(text, '/srv/p', '/')).toBe(text);
  });

  it('goes through lists and objects, and leaves numbers', () => {
    const value = { a: ['/srv/p/x.pt', 1, null], b: { c: true, d: '/srv/p/y.pt' } };
    expect(withoutLocalPaths(value, ['/srv/p'], '/')).toEqual({ a: ['x.pt', 1, null], b: { c: true, d: 'y.pt' } });
  });

  it('leaves every kept report as it is: none has an absolute path', () => {
    const folder = join(import.meta.dirname, '..', '..', 'golden', 'reports');
    const files = readdirSync(folder).filter((name) => name.endsWith('.json'));
    expect(files.length).toBeGreaterThan(20);
    for (const file of files) {
      const report: unknown = JSON.parse(readFileSync(join(folder, file), 'utf8'));
      expect(withoutLocalPaths(report, ['/srv/p'], '/home/jane')).toEqual(report);
    }
  });
});
