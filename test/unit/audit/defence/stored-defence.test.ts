import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defend } from '../../../../src/audit/defence/defend.js';
import { readDefence } from '../../../../src/audit/defence/stored-defence.js';
import { pathsInFolder } from '../../../../src/facts/inputs.js';
import type { DefenceReport } from '../../../../src/protocol/defence-report.js';
import { NETWORKS } from '../../../networks.js';

const folder = mkdtempSync(join(tmpdir(), 'gradleak-stored-'));
const file = join(folder, 'defence.json');
let report: DefenceReport;

beforeAll(async () => {
  report = await defend(
    {
      audit: {
        ...pathsInFolder(join(NETWORKS, 'two-convolutions')),
        method: 'auto',
        reconstruction: { attack: 'chain', preset: 'soft-label', engine: 'auto', timeLimitSeconds: 30 },
      },
      out: folder,
      effort: 'quick',
      defences: ['clipping'],
    },
    { progress: () => undefined, pause: () => Promise.resolve() },
  );
}, 60_000);
afterAll(() => {
  rmSync(folder, { recursive: true });
});

describe('a stored sweep', () => {
  it('comes back with each of its pictures', () => {
    const stored = readDefence(folder)!;
    expect(stored.report).toEqual(JSON.parse(JSON.stringify(report)));
    const shown = report.curves.flatMap(({ points }) => points.flatMap(({ left }) => left.map((own) => own.shown)));
    const named = shown.flatMap((own) => (own?.type === 'picture' ? [own.file] : []));
    expect(named.length).toBeGreaterThan(0);
    expect(stored.pictures.map((own) => own.file)).toEqual(expect.arrayContaining(named));
    for (const { png } of stored.pictures) {
      expect(Buffer.from(png, 'base64').subarray(1, 4).toString()).toBe('PNG');
    }
  });

  it('leads to no file outside of its folder, and is nothing where its form is another', () => {
    const whole = readFileSync(file, 'utf8');
    const secret = join(folder, '..', 'gradleak-secret.png');
    writeFileSync(secret, 'secret');
    writeFileSync(file, whole.replace(/"file": "[^"]+"/g, '"file": "../gradleak-secret.npy"'));
    expect(readDefence(folder)!.pictures).toEqual([]);
    rmSync(secret);
    writeFileSync(file, whole.replace('"effort": "quick"', '"effort": "wishful"'));
    expect(readDefence(folder)).toBeUndefined();
    writeFileSync(file, whole.slice(0, -40));
    expect(readDefence(folder)).toBeUndefined();
    rmSync(file);
    expect(readDefence(folder)).toBeUndefined();
  });
});
