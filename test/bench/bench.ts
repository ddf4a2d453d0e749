import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { shapeOfGradient } from '../../src/recovery/head-gradient.js';
import { generator, recoverLikePaper } from '../../src/recovery/paper-method.js';
import { factorsOf } from '../../src/recovery/head-factors.js';
import { recoverSingle } from '../../src/recovery/single-sample.js';
import { costs, counts } from './batch.js';
import { besideBreaching, convCosts, normalEquations } from './conv.js';
import { growth } from './growth.js';
import { inspectorCost, launch } from './inspector.js';
import { benchMatching } from './matching.js';
import { atLeast, atMost, finish, head, row } from './tables.js';
import { BLOCKS, makeDump, readAll } from './reading.js';
import { typingCost } from './scripts.js';
import { type SyntheticLabel, largestDifference, syntheticSample } from '../synthetic-head.js';
import { writeSparseTorchZip } from '../write-torch-zip.js';

/** Run by "npm run bench" from the repository's root, after a build. */

const CLI = join('dist', 'cli.js');
const folder = mkdtempSync(join(tmpdir(), 'gradleak-bench-'));

function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

const KINDS: SyntheticLabel[] = ['hard', 'smoothed', 'mixup', 'mixup-smoothed'];
const PAPER_RUNS: Record<number, number> = { 10: 6, 100: 1 };
/** How many times faster than the published method. */
const LEAST_RATIO: Record<number, number> = { 10: 10, 100: 50, 1000: 1 };
const BUDGET_MS: Record<number, number> = { 10: 5, 100: 10, 1000: 50 };

async function solver(): Promise<void> {
  head(
    'Solver time per dump (ms, median of 24 to 48 dumps, half of them trained-like), and the published method on the same dumps',
    'K',
    'd',
    'bias',
    'ours',
    'budget',
    'right',
    'published',
    'right',
    'published / ours',
  );
  const pause = (): Promise<void> => Promise.resolve();
  for (const [classes, features] of [
    [10, 768],
    [10, 2048],
    [100, 768],
    [100, 2048],
    [1000, 512],
    [1000, 2048],
  ] as const) {
    for (const bias of [true, false]) {
      const random = generator(classes + features);
      const perKind = classes === 1000 ? 3 : 6;
      const ours: number[] = [];
      const paper: number[] = [];
      let right = 0;
      let paperRight = 0;
      let total = 0;
      for (const spread of [1, 6]) {
        for (const kind of KINDS) {
          for (let run = 0; run < perKind; run++) {
            const sample = syntheticSample({ classes, features, kind, bias, random, spread });
            const started = performance.now();
            const shape = shapeOfGradient(sample.head);
            const found = recoverSingle(sample.head, shape);
            ours.push(performance.now() - started);
            total++;
            right += largestDifference(found.label.probabilities, sample.label) < 1e-4 ? 1 : 0;
            // The published swarms take up to a minute at K = 1000; a few dumps show the ratio.
            const isSample = classes < 1000 ? run < PAPER_RUNS[classes]! : run === 0 && kind === 'smoothed';
            if (isSample) {
              const paperStarted = performance.now();
              const theirs = await recoverLikePaper(
                sample.head,
                factorsOf(sample.head, shapeOfGradient(sample.head)),
                false,
                pause,
              );
              paper.push(performance.now() - paperStarted);
              paperRight += largestDifference(theirs.label.probabilities, sample.label) < 1e-2 ? 1 : 0;
            }
          }
        }
      }
      const [own, published] = [median(ours), median(paper)];
      const name = `solver K=${classes} d=${features} ${bias ? 'with' : 'without'} bias`;
      const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
      row(
        classes,
        features,
        bias ? 'yes' : 'no',
        own.toFixed(2),
        atMost(`${name}, ms`, own, BUDGET_MS[classes] ?? NaN),
        `${right}/${total}`,
        paper.length > 0 ? `${published.toFixed(1)} (mean ${mean(paper).toFixed(0)})` : 'not run',
        `${paperRight}/${paper.length}`,
        paper.length > 0
          ? `${(published / own).toFixed(1)}, ${atLeast(`${name}, published / ours`, published / own, LEAST_RATIO[classes] ?? NaN)}`
          : '',
      );
    }
  }
}

/** Runs Node with arguments; wall time and the child's own peak memory. */
function timed(args: readonly string[]): { ms: number; megabytes: number } {
  const started = performance.now();
  const result = spawnSync(process.execPath, ['-r', join(folder, 'memory.cjs'), ...args], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  const ms = performance.now() - started;
  if (result.status !== 0) {
    throw new Error(`${args.join(' ')} failed: ${result.stderr}`);
  }
  return { ms, megabytes: Number(/peak (\d+)/.exec(result.stderr)?.[1]) / 1024 };
}

function compare(args: readonly string[], runs: number): { ms: number; base: number; megabytes: number } {
  const own: number[] = [];
  const base: number[] = [];
  let megabytes = 0;
  for (let run = 0; run < runs; run++) {
    base.push(timed(['-e', '0']).ms);
    const result = timed(args);
    own.push(result.ms);
    megabytes = Math.max(megabytes, result.megabytes);
  }
  return { ms: median(own), base: median(base), megabytes };
}

function command(): void {
  head('Whole command, wall time', 'what', 'ms', 'node -e 0', 'above it', 'budget', 'peak MB');
  const line = (what: string, args: readonly string[], budget: number, megabytes?: number): void => {
    const result = compare(args, 7);
    const above = result.ms - result.base;
    const memory = megabytes === undefined ? '' : `; ${atMost(`${what}, MB`, result.megabytes, megabytes)}`;
    row(
      what,
      result.ms.toFixed(0),
      result.base.toFixed(0),
      above.toFixed(0),
      `${atMost(`${what}, ms`, above, budget)}${memory}`,
      result.megabytes.toFixed(0),
    );
  };
  line('audit of the bundled LeNet dump, labels', [CLI, 'audit', join('media', 'example'), '--attack', 'none'], 500);
  line('audit of the bundled LeNet dump, with its input', [CLI, 'audit', join('media', 'example')], 5000);
  const { large, many, manySafe } = largeFiles();
  line('listing a 4 GB checkpoint of 400 tensors', [CLI, 'inspect', large], 1000, 150);
  line('listing a checkpoint of 100,000 tensors', [CLI, 'inspect', many], 1000, 300);
  line('listing a safetensors file of 100,000 tensors', [CLI, 'inspect', manySafe], 1000, 300);
}

/** A checkpoint of 4 GB and two of 100,000 tensors, as holes of sparse files. */
function largeFiles(): { large: string; many: string; manySafe: string } {
  const large = join(folder, 'large.pt');
  writeSparseTorchZip(
    large,
    Array.from({ length: 400 }, (_, index) => ({ name: `layers.${index}.weight`, shape: [1024, 2560] })),
  );
  const many = join(folder, 'many.pt');
  writeSparseTorchZip(
    many,
    Array.from({ length: 100_000 }, (_, index) => ({ name: `layers.${index}.weight`, shape: [16, 16] })),
  );
  const manySafe = join(folder, 'many.safetensors');
  const described = Array.from({ length: 100_000 }, (_, index) => [
    `layers.${index}.weight`,
    { dtype: 'F32', shape: [16, 16], data_offsets: [1024 * index, 1024 * (index + 1)] },
  ]);
  const header = Buffer.from(JSON.stringify(Object.fromEntries(described)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(manySafe, Buffer.concat([length, header]));
  truncateSync(manySafe, 8 + header.length + 1024 * 100_000);
  return { large, many, manySafe };
}

/** Reading a directory of 100,000 tensors, in times that its JSON takes. */
const MOST_OF_JSON = 16;

async function inspector(): Promise<void> {
  const { large, many, manySafe } = largeFiles();
  const browser = await launch();
  head(
    `Inspector${browser ? '' : ' (no browser here: set GRADLEAK_CHROMIUM)'}: ms and MB; scrolling from top to end in 180 frames`,
    'file',
    'directory',
    'its JSON, written and parsed',
    'directory / JSON',
    'first paint',
    'statistics of the rows on screen',
    'child, peak',
    'host, more',
    'frame, 95 %',
    'frame, worst',
    'empty page, 95 %',
  );
  const number = (value: number | undefined): string => (value === undefined ? '' : value.toFixed(0));
  for (const [name, path] of [
    ['4 GB, 400 tensors', large],
    ['100,000 tensors', many],
    ['100,000 tensors, safetensors', manySafe],
  ] as const) {
    const cost = await inspectorCost(path, browser);
    row(
      name,
      number(cost.directoryMs),
      number(cost.jsonMs),
      cost.tensors < 100_000
        ? ''
        : `${(cost.directoryMs / cost.jsonMs).toFixed(1)}, ${atMost(`${name}, directory / JSON`, cost.directoryMs / cost.jsonMs, MOST_OF_JSON)}`,
      cost.tensors < 100_000 || cost.firstPaintMs === undefined
        ? number(cost.firstPaintMs)
        : `${number(cost.firstPaintMs)}, ${atMost(`${name}, first paint, ms`, cost.firstPaintMs, 1000)}`,
      number(cost.statisticsMs),
      number(cost.childMegabytes),
      number(cost.hostMegabytes),
      number(cost.frame?.p95),
      number(cost.frame?.worst),
      number(cost.frame?.emptyP95),
    );
  }
  await browser?.close();
}

function scripts(): void {
  head(
    'Training scripts: parse and analysis, ms',
    'lines',
    'afresh',
    'after a keystroke',
    'worst keystroke',
    'afresh / keystroke',
    'worst / afresh',
  );
  for (const lines of [100, 1000, 10_000]) {
    const { lines: own, fresh, keystroke, worst } = typingCost(lines);
    row(
      own,
      fresh.toFixed(1),
      keystroke.toFixed(1),
      worst.toFixed(1),
      (fresh / keystroke).toFixed(1),
      lines < 10_000
        ? (worst / fresh).toFixed(2)
        : `${(worst / fresh).toFixed(2)}, ${atMost('scripts of 10,000 lines, worst keystroke / afresh', worst / fresh, 0.4)}; ${atMost('scripts of 10,000 lines, worst keystroke, ms', worst, 50)}`,
    );
  }
}

async function matching(): Promise<void> {
  const { version, rows } = await benchMatching();
  head(
    `Gradient matching, ms per step (best of interleaved rounds; ${version === undefined ? 'no Python with PyTorch here' : `beside PyTorch ${version} on the CPU`})`,
    'network',
    'engine',
    'threads',
    'compile, ms',
    'step, ms',
    'against PyTorch at its best',
  );
  for (const { network, engine, threads, compileMs, stepMs, ratio } of rows) {
    row(
      network,
      engine,
      threads,
      compileMs === 0 ? '' : compileMs.toFixed(0),
      stepMs.toFixed(2),
      ratio === undefined ? '' : `${ratio.toFixed(2)} x`,
    );
  }
}

const BATCH_SIZES = [
  [100, 2],
  [100, 8],
  [100, 32],
  [200, 64],
  [1000, 32],
  [1000, 128],
] as const;

async function batch(): Promise<void> {
  head(
    'Every sample of a batch: factoring and search, 512 features, hard labels',
    'K',
    'B',
    'found',
    's',
    's per sample',
  );
  for (const { classes, batch: size, found, seconds } of await costs(BATCH_SIZES)) {
    row(classes, size, found, seconds.toFixed(2), (seconds / size).toFixed(3));
  }
  const given = process.env.GRADLEAK_BATCHES;
  head(
    `Label counts on the same gradients, ${given ?? 'the test fixtures'} (more with GRADLEAK_BATCHES, see make_batches.py)`,
    'head',
    'estimator',
    'batches',
    'all counts right',
    'labels right',
  );
  for (const { group, estimator, batches, exact, labels } of await counts(
    given ?? join('test', 'fixtures', 'batches'),
  )) {
    row(group, estimator, batches, exact, `${(100 * labels).toFixed(1)} %`);
  }
}

/** The presets' own 24,000 take hours on a CPU. */
const BREACHING_ITERATIONS = 1000;

async function conv(): Promise<void> {
  head(
    'Normal equations of a layer and their Cholesky factor, float64, ms',
    'equations',
    'unknowns',
    'ours',
    'numpy',
    'ours / numpy',
  );
  for (const [equations, unknowns] of [
    [2304, 64],
    [1152, 256],
    [2304, 256],
    [2304, 1024],
  ] as const) {
    const { ours, numpy } = await normalEquations(equations, unknowns);
    row(equations, unknowns, ours.toFixed(1), numpy?.toFixed(1) ?? 'no numpy', numpy ? (ours / numpy).toFixed(1) : '');
  }
  head(
    'The input of an untrained ResNet-18, width 64, 3 x 32 x 32, smoothed label',
    'normalisation',
    'attack',
    'seconds',
    'PSNR, dB',
    'up to its size',
    'verdict',
  );
  for (const { mode, attack, seconds, psnr, psnrFitted, verdict } of await convCosts(folder)) {
    const name = attack === 'chain' ? 'feature maps' : 'gradient matching';
    row(mode, name, seconds.toFixed(1), psnr.toFixed(1), psnrFitted?.toFixed(1) ?? '', verdict);
    if (attack === 'chain') {
      atLeast(`${name}, ${mode}, dB`, psnrFitted ?? psnr, 60);
    }
  }
  const python = process.env.GRADLEAK_PYTHON;
  const dumps = (process.env.GRADLEAK_CONV_DUMPS ?? '').split(',').filter((dump) => dump !== '');
  if (python === undefined || dumps.length === 0) {
    return;
  }
  head(`Single samples of a ResNet-18, beside breaching 0.1.2`, 'dump', 'attack', 'iterations', 'seconds', 'PSNR, dB');
  const { ours, breaching } = besideBreaching(python, dumps, BREACHING_ITERATIONS);
  for (const { dump, seconds, psnr } of ours) {
    row(dump, 'feature maps', '', seconds.toFixed(1), psnr.toFixed(1));
  }
  for (const { dump, preset, iterations, seconds, psnr } of breaching) {
    row(dump, `breaching, ${preset}`, iterations, seconds.toFixed(1), psnr.toFixed(1));
  }
}

async function growing(): Promise<void> {
  head(
    'A queue by itself, with the worker of one process: per job, and the memory of the process that submits and works',
    'jobs',
    'manifest, bytes',
    'submitted, µs',
    'worked, µs',
    'Redis, bytes',
    'process, MB',
  );
  for (const { jobs, manifestBytes, submitMicroseconds, workMicroseconds, redisBytes, bytes } of await growth()) {
    row(
      jobs,
      manifestBytes.toFixed(0),
      submitMicroseconds.toFixed(0),
      workMicroseconds.toFixed(0),
      redisBytes.toFixed(0),
      (bytes / 1e6).toFixed(0),
    );
  }
}

/** Of each file that the bench makes, in GB. */
const READING_GB = Number(process.env.GRADLEAK_READING_GB ?? '1');
const READING_MB = 400;

function reading(): void {
  const dump = makeDump(folder, READING_GB * 1e9);
  head(
    `Reading a float16 checkpoint of ${READING_GB} GB, each way in a process of its own, and auditing it with a gradient of that size`,
    'what',
    'seconds',
    'peak MB',
    'budget',
  );
  const line = (what: string, args: readonly string[], limit?: number): void => {
    const { ms, megabytes } = timed(args);
    const budget = limit === undefined ? '' : atMost(`${what}, MB`, megabytes, limit);
    row(what, (ms / 1000).toFixed(2), megabytes.toFixed(0), budget);
  };
  const child = [process.argv[1] ?? '', 'reading-alone', dump.checkpoint];
  // The first reading leaves the file in the system's cache, as far as that holds it.
  line('bytes alone, first', [...child, 'bytes']);
  line('bytes alone', [...child, 'bytes']);
  for (const block of BLOCKS) {
    line(block === 0 ? 'tensors whole' : `blocks of ${block} numbers`, [...child, String(block)]);
  }
  line('bytes alone, again', [...child, 'bytes']);
  line('audit', [CLI, 'audit', dump.folder, '--attack', 'none'], READING_MB);
}

async function main(): Promise<void> {
  const [, , task, file, how] = process.argv;
  if (task === 'reading-alone') {
    readAll(file ?? '', how ?? '');
    return;
  }
  writeFileSync(
    join(folder, 'memory.cjs'),
    // Not resourceUsage().maxRSS: that starts from the parent's size on Linux.
    "process.on('exit', () => process.stderr.write('peak ' + /VmHWM:\\s+(\\d+)/.exec(require('node:fs').readFileSync('/proc/self/status', 'utf8'))[1] + '\\n'));",
  );
  console.log(`Node ${process.version}, ${process.platform} ${process.arch}`);
  const only = process.argv[2];
  if (only === undefined || only === 'solver') {
    await solver();
  }
  if (only === undefined || only === 'command') {
    command();
  }
  if (only === undefined || only === 'inspector') {
    await inspector();
  }
  if (only === undefined || only === 'scripts') {
    scripts();
  }
  if (only === undefined || only === 'batch') {
    await batch();
  }
  if (only === undefined || only === 'matching') {
    await matching();
  }
  if (only === undefined || only === 'conv') {
    await conv();
  }
  if (only === undefined || only === 'reading') {
    reading();
  }
  if (only === 'growth') {
    await growing();
  }
  process.exitCode = finish(join('out', 'bench.json')) ? 0 : 1;
}

void main().finally(() => {
  rmSync(folder, { recursive: true, force: true });
});
