import { posix, win32 } from 'node:path';
import { describe, expect, it } from 'vitest';
import { pathWithin } from '../../../src/project/within.js';

describe('a path within a folder', () => {
  it.each([
    ['below', '/p/src/train.py', 'src/train.py'],
    ['with steps up that stay inside', '/p/a/../b.py', 'b.py'],
    ['that begins with two dots', '/p/..b.py', '..b.py'],
    ['the folder itself', '/p', undefined],
    ['beside', '/pq/train.py', undefined],
    ['with steps up that lead out', '/p/../etc/passwd', undefined],
    ['of a server', '//server/share/train.py', undefined],
    ['that is relative', 'train.py', undefined],
    ['that is empty', '', undefined],
  ])('%s, on POSIX', (_, path, wanted) => {
    expect(pathWithin('/p', path, posix)).toBe(wanted);
  });

  it.each([
    ['below', 'C:\\p\\src\\train.py', 'src\\train.py'],
    ['in other letters and slashes', 'c:/P/src/train.py', 'src\\train.py'],
    ['of a server', '\\\\server\\share\\p\\train.py', undefined],
    ['of a server with slashes', '//server/share/p/train.py', undefined],
    ['of a server behind a prefix', '\\\\?\\UNC\\server\\share\\train.py', undefined],
    ['of a device', '\\\\.\\C:\\p\\train.py', undefined],
    ['of another drive', 'D:\\p\\train.py', undefined],
    ['relative to a drive', 'C:train.py', undefined],
    ['with steps up that lead out', 'C:\\p\\..\\q\\train.py', undefined],
    ['with steps up to a server', 'C:\\p\\..\\..\\\\\\server\\share', undefined],
  ])('%s, on Windows', (_, path, wanted) => {
    expect(pathWithin('C:\\p', path, win32)).toBe(wanted);
  });

  it('of a workspace that is on a server itself', () => {
    expect(pathWithin('\\\\server\\share\\p', '\\\\server\\share\\p\\train.py', win32)).toBe('train.py');
    expect(pathWithin('\\\\server\\share\\p', '\\\\other\\share\\p\\train.py', win32)).toBeUndefined();
  });
});
