import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { runAudit } from '../../../src/audit/run-audit.js';
import { HEAD_GRADIENT } from '../../../src/facts/head-facts.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import { CLIENT_COUNTS } from '../../../src/methods/client-labels/client-counts.js';
import { labelFrequencies, roundToSum } from '../../../src/recovery/label-counts.js';

/**
 * Class counts of clients that make_clients.py made, beside iLRG on the same updates: share of the samples that are counted
 * right, and share of the classes whose count is right. A bound above the truth is marked with "!".
 *
 *     npx vite-node test/bench/updates/clients.ts FOLDER
 */

interface Truth {
  readonly network: string;
  readonly data: string;
  readonly epochs: number;
  readonly batches: number;
  readonly size: number;
  readonly rate: number;
  readonly trained: boolean;
  readonly labels: readonly number[];
  readonly classes: number;
}

interface Row {
  readonly truth: Truth;
  readonly own: readonly [number, number];
  readonly ilrg: readonly [number, number];
  /** Classes that surely occur, of those that do. */
  readonly sure: number;
  readonly present: number;
  readonly wrong: boolean;
}

const pause = (): Promise<void> => Promise.resolve();

function right(counts: readonly number[], wanted: readonly number[]): [number, number] {
  const off = wanted.reduce((sum, count, index) => sum + Math.abs(count - counts[index]!), 0);
  const all = wanted.reduce((sum, count) => sum + count, 0);
  return [1 - off / 2 / all, wanted.filter((count, index) => count === counts[index]).length / wanted.length];
}

async function rowOf(folder: string): Promise<Row | undefined> {
  const truth = JSON.parse(readFileSync(join(folder, 'client.json'), 'utf8')) as Truth;
  const wanted = new Array<number>(truth.classes).fill(0);
  for (const label of truth.labels) {
    wanted[label]!++;
  }
  const { facts } = await runAudit({ ...pathsInFolder(folder), method: 'auto' }, { progress: () => undefined, pause });
  const found = await facts.get(CLIENT_COUNTS);
  const head = await facts.get(HEAD_GRADIENT);
  if ('why' in found || !head?.gradient.biasGradient) {
    console.log(`${folder}: ${'why' in found ? found.why : 'no bias'}`);
    return undefined;
  }
  const { training, steps, counts, least = [] } = found;
  // iLRG takes one step's gradient: that of the mean over the steps.
  const scale = 1 / (training.learningRate * steps);
  const mean = {
    ...head.gradient,
    weightGradient: {
      ...head.gradient.weightGradient,
      data: head.gradient.weightGradient.data.map((value) => value * scale),
    },
  };
  const frequencies = await labelFrequencies(
    mean,
    head.gradient.biasGradient.map((value) => value * scale),
    pause,
  );
  return {
    truth,
    own: right(counts, wanted),
    ilrg: right(roundToSum(frequencies, truth.labels.length), wanted),
    sure: least.filter((count) => count > 0).length,
    present: wanted.filter((count) => count > 0).length,
    wrong: least.some((count, index) => count > wanted[index]!),
  };
}

function mean(rows: readonly Row[], of: (row: Row) => number): string {
  return `${Math.round((100 * rows.reduce((sum, row) => sum + of(row), 0)) / rows.length)} %`.padStart(6);
}

async function main(folder: string): Promise<void> {
  const groups = new Map<string, Row[]>();
  for (const name of readdirSync(folder).sort()) {
    const row = await rowOf(join(folder, name));
    if (!row) {
      continue;
    }
    const { rate, network, trained, epochs, batches, size } = row.truth;
    for (const group of [
      `lr ${rate}`,
      `lr ${rate}  ${epochs} x ${batches} x ${size}`,
      `lr ${rate}  ${network} ${trained ? 'trained' : 'new'} ${epochs} x ${batches} x ${size}`,
    ]) {
      groups.set(group, [...(groups.get(group) ?? []), row]);
    }
  }
  console.log(
    'samples counted right: ours, iLRG; classes counted right: ours, iLRG; classes that surely occur, of those that do',
  );
  for (const [group, rows] of [...groups].sort()) {
    const sums = (of: (row: Row) => number): number => rows.reduce((sum, row) => sum + of(row), 0);
    console.log(
      group.padEnd(36),
      mean(rows, ({ own }) => own[0]),
      mean(rows, ({ ilrg }) => ilrg[0]),
      mean(rows, ({ own }) => own[1]),
      mean(rows, ({ ilrg }) => ilrg[1]),
      `${sums(({ sure }) => sure)} of ${sums(({ present }) => present)}`.padStart(12),
      `${rows.length} dumps`,
      rows.some(({ wrong }) => wrong) ? '!' : '',
    );
  }
}

await main(process.argv[2] ?? '');
