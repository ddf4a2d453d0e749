import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { openTensorFile } from '../../../src/formats/open.js';
import { UnusableInputError } from '../../../src/protocol/errors.js';

/** Another process writes to a file between its opening and its reading. */

const DUMPS = join(import.meta.dirname, '..', '..', 'fixtures', 'dumps');
const FILES = [
  join(DUMPS, 'k10_hard_bias_default', 'gradient.pt'),
  join(DUMPS, 'in_legacy_list', 'gradient.pt'),
  join(DUMPS, 'in_keras', 'gradient.npz'),
  join(DUMPS, 'in_safetensors', 'gradient.safetensors'),
];
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradleak-changing-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** What reading each tensor of a copy of the file ends with, when this happens to it after it was opened. */
function codesAfter(from: string, change: (path: string) => void): Set<string> {
  const path = join(folder, basename(from));
  cpSync(from, path);
  const file = openTensorFile(path);
  change(path);
  try {
    return new Set(
      file.entries.map(({ name }) => {
        try {
          file.read(name);
          return 'read';
        } catch (error) {
          expect(error).toBeInstanceOf(UnusableInputError);
          expect((error as Error).message).toContain(path);
          return (error as UnusableInputError).code;
        }
      }),
    );
  } finally {
    file.close();
  }
}

describe.each(FILES)('%s', (from) => {
  it('is read where nothing happens', () => {
    expect(codesAfter(from, () => undefined)).toEqual(new Set(['read']));
  });

  it.each([0, 0.5, 0.95])('gives no numbers once it is cut to %f of its size', (share) => {
    const cut = (path: string): void => {
      truncateSync(path, Math.floor(share * statSync(path).size));
    };
    expect(codesAfter(from, cut)).toEqual(new Set(['truncated-file']));
  });

  it.each([1, 2])('gives no numbers once others are written over it, %f times as many', (times) => {
    const overwrite = (path: string): void => {
      const { size, mtimeMs } = statSync(path);
      writeFileSync(path, Buffer.alloc(times * size, 1));
      // As a later write would have it, whatever the clock of the file system.
      utimesSync(path, new Date(), new Date(mtimeMs + 1000));
    };
    expect(codesAfter(from, overwrite)).toEqual(new Set(['changed-file']));
  });
});

describe('an audit', () => {
  it.each(['open', 'match', 'read', 'check'])('ends with an error that names the file cut at: %s', async (stage) => {
    cpSync(join(DUMPS, 'k10_hard_bias_default'), folder, { recursive: true });
    const gradients = join(folder, 'gradient.pt');
    const cut = readFileSync(gradients).subarray(0, 300);
    const hooks = {
      progress: (progress: { stage: string }): void => {
        if (progress.stage === stage) {
          writeFileSync(gradients, cut);
        }
      },
      pause: () => Promise.resolve(),
    };
    const request = { checkpoint: join(folder, 'checkpoint.pt'), gradients, method: 'auto' as const };
    const error = await runAudit(request, hooks).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(UnusableInputError);
    expect((error as Error).message).toContain(gradients);
  });
});
