import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** What ships: pinned, covered by the audit and the SBOM, and with its licences. */

const ROOT = join(import.meta.dirname, '..', '..');
const read = (name: string): string => readFileSync(join(ROOT, name), 'utf8');
const json = (name: string): unknown => JSON.parse(read(name));

const manifest = json('package.json') as {
  engines: { vscode: string };
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
  overrides: Record<string, string>;
};
const lock = json('package-lock.json') as { packages: Record<string, { version: string; dev?: true }> };

interface Notices {
  packagesOf(files: readonly string[]): string[];
  noticesOf(folders: readonly string[]): string;
}

let notices: Notices;
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-packaging-'));
beforeAll(async () => {
  notices = (await import(pathToFileURL(join(ROOT, '.ci', 'notices.mjs')).href)) as Notices;
});
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

/** Of the last build: `node esbuild.mjs`. */
function shipped(): string[] {
  const bundled = json(join('dist', 'bundled.json')) as string[];
  return [...notices.packagesOf(bundled), 'node_modules/onnxruntime-common', 'node_modules/onnxruntime-node'];
}

describe('dependencies', () => {
  it('are pinned exactly, at what the lock file has', () => {
    const { dependencies, devDependencies, overrides } = manifest;
    for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
      expect(`${name} ${version}`).toMatch(/ \d+\.\d+\.\d+$/);
      expect(`${name} ${version}`).toBe(`${name} ${lock.packages[`node_modules/${name}`]?.version ?? ''}`);
    }
    expect(Object.values(overrides).join(' ')).toMatch(/^[\d. ]+$/);
    expect(read('.npmrc')).toMatch(/^save-exact=true$/m);
  });

  it('hold what is bundled, so that the audit of a release and the SBOM cover it', () => {
    const development = shipped().filter((folder) => lock.packages[folder]?.dev !== undefined);
    expect(development).toEqual([]);
    expect(shipped().filter((folder) => !lock.packages[folder])).toEqual([]);
    for (const name of Object.keys(manifest.dependencies)) {
      expect(shipped()).toContain(`node_modules/${name}`);
    }
  });

  it('know no newer VS Code than the oldest that is supported', () => {
    expect(`^${manifest.devDependencies['@types/vscode'] ?? ''}`).toBe(manifest.engines.vscode);
  });
});

describe('third-party notices', () => {
  let count = 0;
  function made(about: object, files: Record<string, string> = {}): string {
    const folder = join(scratch, String(count++));
    mkdirSync(folder);
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'some', version: '1.2.3', ...about }));
    for (const [name, text] of Object.entries(files)) {
      writeFileSync(join(folder, name), text);
    }
    return folder;
  }

  it('name each package of the build, with the text of its licence', () => {
    const text = notices.noticesOf(shipped());
    const parts = text.split('='.repeat(80));
    for (const folder of shipped()) {
      const { name, version } = json(join(folder, 'package.json')) as { name: string; version: string };
      const [own] = parts.filter((part) => part.startsWith(`\n\n${name} ${version} (`));
      expect(own, name).toMatch(/copyright|permission|terms/i);
      expect(own?.length, name).toBeGreaterThan(500);
    }
    expect(text).toContain('HDF5 (Hierarchical Data Format 5)');
    expect(text).toContain('onnxruntime-node');
  });

  it('are shipped', () => {
    expect(read('.vscodeignore').split('\n')).toContain('!dist/THIRD-PARTY-NOTICES.txt');
  });

  it('finds the package of a file, also within another and under a scope', () => {
    expect(
      notices.packagesOf([
        'src/a.ts',
        'package.json',
        'node_modules/b/x/y.js',
        'node_modules/b/z.js',
        'node_modules/@c/d/x.js',
        'node_modules/b/node_modules/@e/f/x.js',
      ]),
    ).toEqual(['node_modules/@c/d', 'node_modules/b', 'node_modules/b/node_modules/@e/f']);
  });

  it('hold every file of a licence, and each package once', () => {
    const folder = made({ license: 'MIT' }, { LICENSE: 'the terms', 'NOTICE.md': 'the notice', 'index.js': 'code' });
    const text = notices.noticesOf([folder, folder]);
    expect(text.split('some 1.2.3 (MIT)\n\nthe terms\n\nthe notice')).toHaveLength(2);
    expect(text).not.toContain('code');
  });

  it.each([
    ['another licence', { license: 'GPL-3.0-only' }, 'the licence "GPL-3.0-only", which is not on the allow list'],
    ['a choice of licences', { license: '(MIT OR GPL-3.0)' }, 'which is not on the allow list'],
    ['no licence', {}, 'the licence "none", which is not on the allow list'],
    ['other terms than those that were read', { name: 'h5wasm', license: 'AGPL-3.0' }, 'not on the allow list'],
  ])('fail the packaging of a package with %s', (_, about, sentence) => {
    const folder = made(about, { LICENSE: 'the terms' });
    expect(() => notices.noticesOf([folder])).toThrow(sentence);
    expect(() => notices.noticesOf([folder])).toThrow(/^\S+ 1\.2\.3 .*\.ci\/notices\.mjs\.$/);
  });

  it('fail the packaging of a package without the text of its licence, unless its holder is named', () => {
    expect(() => notices.noticesOf([made({ license: 'MIT' })])).toThrow('without the text of its licence');
    const known = notices.noticesOf([made({ name: 'tr46', license: 'MIT' })]);
    expect(known).toMatch(/MIT License\s+Copyright \(c\) Sebastian Mayr\s+Permission is hereby granted/);
    expect(known).not.toContain('GradLeak authors');
  });
});

it('a release is audited and comes with its SBOM', () => {
  const workflow = read(join('.github', 'workflows', 'release.yml'));
  expect(workflow).toContain('npm audit --omit=dev --audit-level=high\n');
  expect(workflow).toContain('npm run --silent sbom >');
  expect(workflow).toContain('./*.vsix ./*.cdx.json');
});
