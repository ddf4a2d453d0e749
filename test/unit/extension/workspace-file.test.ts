import type * as Fs from 'node:fs';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { workspaceFile } from '../../../src/extension/workspace-file.js';

/** Every path that the file system is asked for, seen from outside. */
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof Fs>();
  return { ...fs, lstatSync: vi.fn(fs.lstatSync), readlinkSync: vi.fn(fs.readlinkSync) };
});

const scratch = realpathSync(mkdtempSync(join(tmpdir(), 'gradleak-workspace-')));
const root = join(scratch, 'project');
const outside = join(scratch, 'elsewhere');
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});
const OUTSIDE = /outside this workspace/;
const MISSING = /no longer in this workspace/;

function write(path: string): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, 'loss.backward()\n');
  return path;
}

const asked = (): string[] =>
  [...vi.mocked(lstatSync).mock.calls, ...vi.mocked(readlinkSync).mock.calls].map(([path]) => String(path));

beforeEach(() => {
  rmSync(root, { recursive: true, force: true });
  rmSync(outside, { recursive: true, force: true });
  write(join(root, 'src', 'train.py'));
  write(join(outside, 'secret.py'));
  vi.mocked(lstatSync).mockClear();
  vi.mocked(readlinkSync).mockClear();
});

describe('a script that notes name', () => {
  it('is opened inside the workspace', () => {
    const file = join(root, 'src', 'train.py');
    expect(workspaceFile(file, [outside, root])).toEqual({ file });
    expect(workspaceFile(join(root, 'src', '..', 'src', 'train.py'), [root])).toEqual({ file });
  });

  it.each([
    ['a file elsewhere', join(outside, 'secret.py')],
    ['steps up', `${root}/../elsewhere/secret.py`],
    ['a server', '\\\\server\\share\\train.py'],
    ['a server with slashes', '//server/share/train.py'],
    ['a relative path', 'src/train.py'],
    ['nothing', ''],
    ['the folder itself', root],
  ])('is told to be outside for %s, and nothing is asked of the file system', (_, path) => {
    expect(workspaceFile(path, [root])).toEqual({ why: expect.stringMatching(OUTSIDE) as string });
    expect(asked()).toEqual([]);
  });

  it.each([
    ['a file that is gone', 'src/gone.py'],
    ['a folder', 'src'],
    ['a path through a file', 'src/train.py/x'],
    ['a name that no file can have', 'src/\0.py'],
  ])('is told to be gone for %s', (_, path) => {
    expect(workspaceFile(join(root, path), [root])).toEqual({ why: expect.stringMatching(MISSING) as string });
  });

  it('is outside where no folder is open', () => {
    expect(workspaceFile(join(root, 'src', 'train.py'), [])).toHaveProperty('why');
  });

  // Making links wants rights on Windows.
  describe.skipIf(process.platform === 'win32')('behind links', () => {
    it('is opened where they stay inside', () => {
      symlinkSync(join(root, 'src'), join(root, 'linked'));
      symlinkSync('linked/train.py', join(root, 'again.py'));
      expect(workspaceFile(join(root, 'again.py'), [root])).toEqual({ file: join(root, 'src', 'train.py') });
    });

    it.each([
      ['a file', (): void => symlinkSync(join(outside, 'secret.py'), join(root, 'link')), 'link'],
      ['a folder', (): void => symlinkSync('../elsewhere', join(root, 'link')), 'link/secret.py'],
      ['a server', (): void => symlinkSync('//server/share', join(root, 'link')), 'link/train.py'],
    ])('is outside where one leads out to %s, whose target is not touched', (_, link, path) => {
      link();
      expect(workspaceFile(join(root, path), [root])).toEqual({ why: expect.stringMatching(OUTSIDE) as string });
      expect(asked().filter((own) => !own.startsWith(root))).toEqual([]);
      expect(asked()).toContain(join(root, 'link'));
    });

    it('ends where they go in circles', () => {
      symlinkSync('two', join(root, 'one'));
      symlinkSync('one', join(root, 'two'));
      expect(workspaceFile(join(root, 'one'), [root])).toHaveProperty('why');
    });

    it('is opened by the name of the folder that is open, when that is a link and the notes name its target', () => {
      const opened = join(scratch, 'opened');
      symlinkSync(root, opened);
      expect(workspaceFile(join(root, 'src', 'train.py'), [opened])).toEqual({ file: join(opened, 'src', 'train.py') });
    });
  });
});
