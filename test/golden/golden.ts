import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';
import { runAudit } from '../../src/audit/run-audit.js';
import type { ReconstructionReport, Report } from '../../src/protocol/report.js';
import type { GoldenCase } from './make-cases.js';

/** Kept reports: what a run may differ in is taken out, so that any other change of a word or number shows as a change of a file. */

export const GOLDEN = join(import.meta.dirname, 'reports');
const FIXTURES = join(import.meta.dirname, '..', 'fixtures');
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };
const LONG = 16;

/** @param scratch a folder that the case may write to */
export async function goldenReport(golden: GoldenCase, scratch: string): Promise<Report> {
  const { report } = await runAudit(golden.request(scratch), hooks);
  const plain = mapStrings(report, (text) => text.replaceAll(FIXTURES, 'fixtures').replaceAll(scratch, 'scratch'));
  const { finished: _finished, ...same } = plain;
  const { checkpoint, gradients } = plain.inputs;
  return {
    ...same,
    // Files that PyTorch or Keras wrote anew are others by their contents, and give the same report.
    inputs: { checkpoint, gradients },
    tool: { name: 'gradleak', version: '0.0.0' },
    timings: {
      readMs: 0,
      recoverMs: 0,
      totalMs: 0,
      ...(plain.timings.reconstructMs === undefined ? {} : { reconstructMs: 0 }),
    },
    samples: plain.samples.map((sample) =>
      sample.reconstruction ? { ...sample, reconstruction: timeless(sample.reconstruction) } : sample,
    ),
  };
}

function timeless(own: ReconstructionReport): ReconstructionReport {
  return { ...own, seconds: 0, matching: own.matching && { ...own.matching, millisecondsPerIteration: 0 } };
}

function mapStrings<T>(value: T, change: (text: string) => string): T {
  return JSON.parse(JSON.stringify(value, (_key, own: unknown) => (typeof own === 'string' ? change(own) : own))) as T;
}

/** Rounded, with long lists of numbers cut: the golden files are for reading. */
export function goldenJson(report: Report): string {
  const text = JSON.stringify(
    report,
    (_key, own: unknown) => {
      if (Array.isArray(own) && own.length > LONG && own.every((entry) => typeof entry === 'number')) {
        return `${own.length} numbers`;
      }
      return typeof own === 'number' && !Number.isInteger(own) ? Number(own.toPrecision(4)) : own;
    },
    2,
  );
  return `${text}\n`;
}

/** Compares with a kept file, or keeps it: `UPDATE_GOLDEN=1`. */
export function expectGolden(file: string, text: string): void {
  const path = join(GOLDEN, file);
  if (process.env.UPDATE_GOLDEN === '1') {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  expect(text, `${file}; if the change is meant: UPDATE_GOLDEN=1`).toBe(readFileSync(path, 'utf8'));
}
