import { resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import { pathToFileURL } from 'node:url';
import type { BatchRecovery, BatchSample } from '../../src/recovery/batch/batch-result.js';
import type { recoverBatch } from '../../src/recovery/batch/recover-batch.js';
import type { whiten } from '../../src/recovery/batch/whiten.js';
import { generator } from '../../src/recovery/paper-method.js';
import { norm } from '../../src/recovery/vectors.js';
import { type BatchCase, type BatchTruth, batchOf } from './batch-heads.js';
import { head, row } from './tables.js';

/** The solver of batches beside another commit's: what they cost, and what they find. Run by "npm run bench". */

interface Solver {
  readonly recoverBatch: typeof recoverBatch;
  readonly whiten: typeof whiten;
}

interface Outcome {
  readonly found: BatchRecovery;
  /** Of the processor, which other work on the machine disturbs least. */
  readonly cpuSeconds: number;
  readonly seconds: number;
}

const pause = (): Promise<void> => Promise.resolve();

async function solve(
  { recoverBatch: recover, whiten: factor }: Solver,
  { head: gradient }: BatchTruth,
): Promise<Outcome> {
  const started = performance.now();
  const before = process.cpuUsage();
  const found = await recover(await factor(gradient, pause), { timeLimitMs: 600_000, pause });
  const { user, system } = process.cpuUsage(before);
  return { found, cpuSeconds: (user + system) / 1e6, seconds: (performance.now() - started) / 1000 };
}

const TRAINED = { classes: 1000, features: 512, batch: 32, head: 'trained-like' } as const;
const COSTLY: readonly BatchCase[] = [
  { classes: 1000, features: 512, batch: 128, labels: 'hard', head: 'untrained', bias: false, seed: 1 },
  { classes: 1000, features: 512, batch: 32, labels: 'hard', head: 'untrained', bias: false, seed: 3 },
  { ...TRAINED, labels: 'hard', bias: false, seed: 4 },
  { ...TRAINED, labels: 'smoothed', bias: false, seed: 1 },
  { ...TRAINED, labels: 'smoothed', bias: true, seed: 1 },
  { classes: 200, features: 512, batch: 64, labels: 'hard', head: 'untrained', bias: false, seed: 5 },
  { classes: 100, features: 512, batch: 32, labels: 'hard', head: 'untrained', bias: false, seed: 6 },
];
const RUNS = 3;

async function costs(here: Solver, there: Solver, commit: string): Promise<void> {
  head(
    `Batches, 512 features, this checkout beside ${commit}: seconds of the processor, median of ${RUNS} interleaved runs (least and most)`,
    'head',
    'labels',
    'bias',
    'K',
    'B',
    `right, ${commit}`,
    'right, here',
    `s, ${commit}`,
    's, here',
    'ratio',
  );
  for (const one of COSTLY) {
    const truth = batchOf(one);
    const [before, after]: [Outcome[], Outcome[]] = [[], []];
    for (let run = 0; run < RUNS; run++) {
      before.push(await solve(there, truth));
      after.push(await solve(here, truth));
    }
    const right = (outcomes: readonly Outcome[]): string =>
      `${Math.min(...outcomes.map(({ found }) => tally(found, truth).right))}/${one.batch}`;
    row(
      one.head,
      one.labels,
      one.bias ? 'yes' : 'no',
      one.classes,
      one.batch,
      right(before),
      right(after),
      spread(before),
      spread(after),
      (median(before) / median(after)).toFixed(1),
    );
  }
}

function median(outcomes: readonly Outcome[]): number {
  const sorted = outcomes.map(({ cpuSeconds }) => cpuSeconds).sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

function spread(outcomes: readonly Outcome[]): string {
  const all = outcomes.map(({ cpuSeconds }) => cpuSeconds);
  return `${median(outcomes).toFixed(2)} (${Math.min(...all).toFixed(2)} to ${Math.max(...all).toFixed(2)})`;
}

/** A feature as near to the true one, relative, is that sample's. */
const SAME_FEATURE = 0.02;

/** Samples with a true label and feature, each true one counted once, and those that are nobody's. */
function tally({ samples }: BatchRecovery, { labelled, features }: BatchTruth): { right: number; spurious: number } {
  const left = new Set(labelled.keys());
  let spurious = 0;
  let right = 0;
  for (const { label, feature, multiplicity } of samples) {
    const own = [...left].filter((at) => labelled[at] === label.classes[0]!.index);
    const match = own.find((at) => distance(feature, features[at]!) < SAME_FEATURE);
    if (match !== undefined) {
      left.delete(match);
      right++;
    } else if (multiplicity === 1 || own.length < multiplicity) {
      spurious++;
    }
  }
  return { right, spurious };
}

function distance(one: Float64Array, other: Float64Array): number {
  return norm(one.map((value, at) => value - other[at]!)) / norm(other);
}

/** Mixed sizes, smaller ones more often: K of 1000 takes the other commit long. */
function mixed(count: number): BatchCase[] {
  const random = generator(2024);
  const one = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]!;
  return Array.from({ length: count }, (_, seed): BatchCase => {
    const classes = one([10, 20, 40, 100, 100, 200, 200, 400, 1000]);
    const sizes = [2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128].filter(
      (size) => size <= classes / 2 && (classes < 400 || size < 64 || random() < 0.3),
    );
    return {
      classes,
      features: one([64, 128, 256, 512]),
      batch: one(sizes),
      labels: one(['hard', 'smoothed']),
      head: one(['untrained', 'trained-like']),
      bias: random() < 0.5,
      seed: 1000 + seed,
    };
  });
}

async function outcomes(here: Solver, there: Solver, commit: string, from: number, count: number): Promise<void> {
  head(
    `Outcomes of ${count} batches that differ between ${commit} and this checkout`,
    'batch',
    'seed',
    `right, spurious, of them at 0.99 or more, ${commit}`,
    'here',
    'what differs',
  );
  const sums = { batches: 0, same: 0, samples: 0, before: 0, after: 0, spuriousBefore: 0, spuriousAfter: 0 };
  for (const one of mixed(from + count).slice(from)) {
    const truth = batchOf(one);
    const [before, after] = [await solve(there, truth), await solve(here, truth)];
    const [was, is] = [tally(before.found, truth), tally(after.found, truth)];
    const differences = compared(before.found, after.found);
    sums.batches++;
    console.error(
      `${sums.batches} of ${count}: seed ${one.seed}, ${before.cpuSeconds.toFixed(1)} s, here ${after.cpuSeconds.toFixed(1)} s`,
    );
    sums.samples += one.batch;
    sums.before += was.right;
    sums.after += is.right;
    sums.spuriousBefore += was.spurious;
    sums.spuriousAfter += is.spurious;
    if (differences.length === 0) {
      sums.same++;
      continue;
    }
    const said = (found: BatchRecovery, { right, spurious }: { right: number; spurious: number }): string =>
      `${right}/${one.batch}, ${spurious}, ${found.samples.filter(({ confidence }) => confidence >= 0.99).length}`;
    row(
      `${one.head} ${one.labels}${one.bias ? ' bias' : ''} K=${one.classes} d=${one.features} B=${one.batch}`,
      one.seed,
      said(before.found, was),
      said(after.found, is),
      differences.join('; '),
    );
  }
  console.log(`\n${JSON.stringify(sums)}`);
}

/** Relative differences above these are told. */
const TOLD_FEATURE = 1e-3;
const TOLD_CONFIDENCE = 1e-3;

function compared(before: BatchRecovery, after: BatchRecovery): string[] {
  const out: string[] = [];
  if (before.ended !== after.ended || before.complete !== after.complete) {
    out.push(`ended: ${before.ended} / ${after.ended}`);
  }
  const left = new Set(after.samples);
  let gone = 0;
  let [feature, confidence, certificate] = [0, 0, 0];
  for (const sample of before.samples) {
    const match = [...left].find((other) => isSameSample(sample, other));
    if (!match) {
      gone++;
      continue;
    }
    left.delete(match);
    feature = Math.max(feature, distance(match.feature, sample.feature));
    confidence = Math.max(confidence, Math.abs(match.confidence - sample.confidence));
    certificate = Math.max(certificate, Math.abs(Math.log(match.featureError / sample.featureError)));
  }
  if (gone > 0 || left.size > 0) {
    out.push(`${gone} only before, ${left.size} only here`);
  }
  if (feature > TOLD_FEATURE) {
    out.push(`features by up to ${feature.toExponential(1)}`);
  }
  if (confidence > TOLD_CONFIDENCE) {
    out.push(`confidence by up to ${confidence.toPrecision(2)}`);
  }
  if (certificate > 0.1) {
    out.push(`stated feature error by up to ${(100 * (Math.exp(certificate) - 1)).toFixed(0)} %`);
  }
  return out;
}

function isSameSample(one: BatchSample, other: BatchSample): boolean {
  return (
    one.label.classes[0]!.index === other.label.classes[0]!.index &&
    one.multiplicity === other.multiplicity &&
    distance(other.feature, one.feature) < SAME_FEATURE
  );
}

async function load(file: string): Promise<Solver> {
  return (await import(pathToFileURL(resolve(file)).href)) as Solver;
}

async function main(): Promise<void> {
  const [program, commit = '', from = '0', count = '120'] = process.argv.slice(2);
  const [here, there] = [await load('out/solver-here.mjs'), await load('out/solver-against.mjs')];
  console.log(`Node ${process.version}, ${process.platform} ${process.arch}`);
  await (program === 'batch-solver'
    ? costs(here, there, commit)
    : outcomes(here, there, commit, Number(from), Number(count)));
}

void main();
