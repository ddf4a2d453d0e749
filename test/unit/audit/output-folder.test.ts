import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openOutput, removeOutput, replaceFile, tidyOutput, writeOutput } from '../../../src/audit/output-folder.js';

let scratch: string;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'gradleak-output-'));
});
afterEach(() => {
  rmSync(scratch, { recursive: true, force: true });
});
const at = (...names: string[]): string => join(scratch, ...names);

describe('a folder of results', () => {
  it('replaces what was written before, and leaves nothing but the files and their list', () => {
    writeOutput(scratch, 'report.html', 'one', false);
    writeOutput(scratch, 'report.html', 'two', false);
    expect(readFileSync(at('report.html'), 'utf8')).toBe('two');
    expect(readdirSync(scratch).sort()).toEqual(['.gradleak-files.json', 'report.html']);
  });

  it('never replaces what it did not write, or what was changed since, unless told to', () => {
    writeFileSync(at('report.html'), 'mine');
    expect(() => {
      writeOutput(scratch, 'report.html', 'two', false);
    }).toThrow(/did not write/);
    writeOutput(scratch, 'report.sarif', 'one', false);
    writeFileSync(at('report.sarif'), 'edited');
    expect(() => {
      writeOutput(scratch, 'report.sarif', 'two', false);
    }).toThrow(/changed since/);
    removeOutput(scratch, 'report.html');
    expect(readFileSync(at('report.html'), 'utf8')).toBe('mine');
    writeOutput(scratch, 'report.html', 'two', true);
    expect(readFileSync(at('report.html'), 'utf8')).toBe('two');
  });

  it('does not take a report for its own that only says so', () => {
    writeFileSync(at('report.json'), JSON.stringify({ tool: { name: 'gradleak', version: '1.0.0' } }));
    expect(() => openOutput(scratch, ['report.json'], false)).toThrow(/did not write/);
    expect(existsSync(at('.gradleak-lock'))).toBe(false);
  });

  it('writes through no link: neither of a file nor of the folder', () => {
    writeFileSync(at('outside'), 'mine');
    mkdirSync(at('out'));
    symlinkSync(at('outside'), at('out', 'report.html'));
    expect(() => {
      writeOutput(at('out'), 'report.html', 'two', false);
    }).toThrow(/did not write/);
    writeOutput(at('out'), 'report.html', 'two', true);
    expect(readFileSync(at('outside'), 'utf8')).toBe('mine');
    expect(lstatSync(at('out', 'report.html')).isSymbolicLink()).toBe(false);
    symlinkSync(at('out'), at('link'));
    expect(() => openOutput(at('link'), [], true)).toThrow(/a link to another place/);
  });

  it('knows its file after a crash between the list and the file', () => {
    writeOutput(scratch, 'report.json', 'one', false);
    const list = readFileSync(at('.gradleak-files.json'), 'utf8');
    writeOutput(scratch, 'report.json', 'two', false);
    // The list had the new checksum, the file was still the old one.
    writeFileSync(at('report.json'), 'one');
    writeOutput(scratch, 'report.json', 'three', false);
    expect(readFileSync(at('report.json'), 'utf8')).toBe('three');
    expect(list).toContain('report.json');
  });

  it('knows its file after two such crashes in a row', () => {
    writeOutput(scratch, 'report.json', 'one', false);
    for (const content of ['two', 'three']) {
      writeOutput(scratch, 'report.json', content, false);
      writeFileSync(at('report.json'), 'one');
    }
    writeOutput(scratch, 'report.json', 'four', false);
    expect(readFileSync(at('report.json'), 'utf8')).toBe('four');
  });

  it.each(['the next audit', 'whoever takes it over'])('is rid of what a killed audit left, by %s', (who) => {
    writeOutput(scratch, 'report.json', 'one', false);
    writeFileSync(at('.report.json.0123456789ab.tmp'), 'o');
    writeFileSync(at('..gradleak-files.json.0123456789ab.tmp'), '{');
    writeFileSync(at('.mine.0123456789ab.tmp'), 'mine');
    // Killed before it had written its number.
    writeFileSync(at('.gradleak-lock'), '');
    if (who === 'the next audit') {
      openOutput(scratch, ['report.json'], false)();
    } else {
      tidyOutput(scratch);
    }
    expect(readdirSync(scratch).sort()).toEqual(['.gradleak-files.json', '.mine.0123456789ab.tmp', 'report.json']);
  });

  it('is left alone while an audit writes to it', () => {
    writeOutput(scratch, 'report.json', 'one', false);
    const unlock = openOutput(scratch, ['report.json'], false);
    writeFileSync(at('.report.json.0123456789ab.tmp'), 'o');
    tidyOutput(scratch);
    expect(readdirSync(scratch)).toContain('.report.json.0123456789ab.tmp');
    expect(readdirSync(scratch)).toContain('.gradleak-lock');
    unlock();
  });

  it('is locked for a second audit, but not by one that has ended', async () => {
    const unlock = openOutput(scratch, [], false);
    expect(() => openOutput(scratch, [], false)).toThrow(/another audit/);
    unlock();
    openOutput(scratch, [], false)();
    const child = spawn(process.execPath, ['-e', '']);
    await once(child, 'exit');
    writeFileSync(at('.gradleak-lock'), JSON.stringify({ pid: child.pid, host: hostname() }));
    openOutput(scratch, [], false)();
    writeFileSync(at('.gradleak-lock'), JSON.stringify({ pid: child.pid, host: 'another machine' }));
    expect(() => openOutput(scratch, [], false)).toThrow(/another audit/);
  });

  it('says what is wrong with the disk, and leaves no part of a file', () => {
    expect(() => {
      replaceFile('/proc/gradleak/report.json', 'x');
    }).toThrow(/cannot be written|may not be written|Make room/);
    mkdirSync(at('report.json'));
    expect(() => {
      replaceFile(at('report.json'), 'x');
    }).toThrow(/cannot be written to/);
    expect(readdirSync(scratch)).toEqual(['report.json']);
  });
});
