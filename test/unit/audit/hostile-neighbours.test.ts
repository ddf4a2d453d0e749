import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import { openTensorFile } from '../../../src/formats/open.js';
import { findNetwork } from '../../../src/methods/input/network-source.js';
import { UnusableInputError } from '../../../src/protocol/errors.js';
import type { Report } from '../../../src/protocol/report.js';

/** Files beside a dump that nobody asked for: none hides a leak, hangs, exhausts memory or ends in a defect. */

const HOSTILE = join(import.meta.dirname, '..', '..', 'fixtures', 'hostile-neighbours');
const DUMP = join(HOSTILE, 'dump');
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-neighbours-'));
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

async function audit(folder: string): Promise<Report> {
  const { report } = await runAudit(
    {
      ...pathsInFolder(folder),
      method: 'auto',
      reconstruction: { attack: 'chain', engine: 'auto', preset: 'soft-label', timeLimitSeconds: 60 },
    },
    { progress: () => undefined, pause: () => Promise.resolve() },
  );
  return report;
}

function beside(name: string, fill: (folder: string) => void): string {
  const folder = join(scratch, name);
  mkdirSync(folder);
  cpSync(DUMP, folder, { recursive: true });
  fill(folder);
  return folder;
}

const nested = (open: string, close: string): string => open.repeat(100_000) + close.repeat(100_000);

/** Too large to be kept: made here. */
const GENERATED: Readonly<Record<string, readonly [file: string, content: string]>> = {
  'recipe-deep': ['recipe.json', `{"schemaVersion":1,"input":[3],"layers":${nested('[', ']')}}`],
  'keras-deep': [
    'model.json',
    `{"class_name":"Functional","config":{"layers":[{"inbound_nodes":${nested('[', ']')}}]}}`,
  ],
  'recipe-20000-layers': [
    'recipe.json',
    JSON.stringify({
      schemaVersion: 1,
      input: [3, 8, 8],
      layers: Array.from({ length: 20_000 }, () => ({ op: 'relu' })),
    }),
  ],
  'not-json': ['recipe.json', '{'],
  'not-onnx': ['model.onnx', 'nothing of the kind'],
};

describe('a network beside a dump that does not fit', () => {
  const kept = readdirSync(join(HOSTILE, 'neighbours')).filter((name) => !name.startsWith('capture-'));

  it.each([...kept, ...Object.keys(GENERATED)])('hides nothing, and is named: %s', async (name) => {
    const folder = beside(name, (own) => {
      const made = GENERATED[name];
      if (made) {
        writeFileSync(join(own, made[0]), made[1]);
      } else {
        cpSync(join(HOSTILE, 'neighbours', name), own, { recursive: true });
      }
    });
    const report = await audit(folder);
    const alone = await audit(DUMP);
    expect(report.verdict.outcome).toBe('leaks');
    expect(report.findings.map(({ id, severity }) => [id, severity])).toEqual(
      alone.findings.map(({ id, severity }) => [id, severity]),
    );
    expect(report.samples[0]!.label).toEqual(alone.samples[0]!.label);
    const [file] = readdirSync(folder).filter((own) => !/^(checkpoint|gradient)\./.test(own));
    const said = [...(report.network?.reasons ?? []), report.samples[0]!.reconstruction?.reason];
    expect(said.join('\n')).toContain(join(folder, file!));
  });
});

describe('captures that say the impossible', () => {
  it.each(readdirSync(join(HOSTILE, 'neighbours')).filter((name) => name.startsWith('capture-')))(
    'are refused in a sentence, or passed over: %s',
    async (name) => {
      const folder = beside(name, (own) => {
        cpSync(join(HOSTILE, 'neighbours', name), own, { recursive: true });
      });
      const outcome = await audit(folder).then(
        ({ verdict }) => verdict.outcome,
        (error: unknown) => (error instanceof UnusableInputError ? 'refused' : Promise.reject(error as Error)),
      );
      expect(['leaks', 'refused']).toContain(outcome);
    },
  );
});

describe('files that hang, exhaust or crash', () => {
  const files = readdirSync(join(HOSTILE, 'files')).map((name) => join(HOSTILE, 'files', name));
  const shards = readdirSync(join(HOSTILE, 'shard')).map((name) => join(HOSTILE, 'shard', name));
  const expanded = readdirSync(join(HOSTILE, 'expanded')).map((name) => join(HOSTILE, 'expanded', name, 'gradient.pt'));

  it.each([...files, ...shards, ...expanded])('as tensors: %s', (path) => {
    try {
      const file = openTensorFile(path);
      for (const { name } of file.entries) {
        expect(file.read(name, { start: 0, end: 1 }).data.length).toBe(1);
      }
      file.close();
    } catch (error) {
      expect(error).toBeInstanceOf(UnusableInputError);
    }
  });

  it.each(files.filter((path) => ['.json', '.keras', '.onnx'].includes(extname(path))))(
    'as networks: %s',
    async (path) => {
      const checkpoint = openTensorFile(join(DUMP, 'checkpoint.pt'));
      const outcome = await findNetwork(path, checkpoint, checkpoint, {}, () => Promise.resolve()).catch(
        (error: unknown) => error,
      );
      checkpoint.close();
      if (outcome instanceof Error) {
        expect(outcome).toBeInstanceOf(UnusableInputError);
      }
    },
  );

  it.each(readdirSync(join(HOSTILE, 'expanded')))('as dumps that repeat elements: %s', async (name) => {
    const outcome = await audit(join(HOSTILE, 'expanded', name)).catch((error: unknown) => error);
    if (outcome instanceof Error) {
      expect(outcome).toBeInstanceOf(UnusableInputError);
    }
  });

  it.skipIf(process.platform === 'win32')('a named pipe is not waited for', async () => {
    const folder = join(scratch, 'pipe');
    mkdirSync(folder);
    cpSync(join(DUMP, 'checkpoint.pt'), join(folder, 'checkpoint.pt'));
    for (const name of ['gradient.pt', 'recipe.json', 'classes.txt', 'capture.json']) {
      execFileSync('mkfifo', [join(folder, name)]);
    }
    await expect(audit(folder)).rejects.toThrow(/not a plain file|no file/);
    rmSync(join(folder, 'gradient.pt'));
    rmSync(join(folder, 'capture.json'));
    cpSync(join(DUMP, 'gradient.pt'), join(folder, 'gradient.pt'));
    expect((await audit(folder)).verdict.outcome).toBe('leaks');
    expect(existsSync(join(folder, 'recipe.json'))).toBe(true);
  });
});
