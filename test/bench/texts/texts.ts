import { spawnSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { Report } from '../../../src/protocol/report.js';

/**
 * Batches of texts from their gradients: a row of dumps is made, audited by the built command and deleted, one after the other.
 * A line of JSON for each goes to OUT, and the row's sums to the screen.
 *
 *     npx vite-node test/bench/texts/texts.ts PYTHON OUT DUMPS MODEL BLOCKS WIDTH BATCH LENGTH [OPTIONS OF make_texts.py]
 */

interface Outcome {
  readonly seed: number;
  readonly seconds: number;
  readonly megabytes: number;
  readonly texts: number;
  /** Texts found token by token, in whatever order; and those of them that are told as sure. */
  readonly exact: number;
  readonly sure: number;
  /** Texts that are told as sure and are none of the batch. */
  readonly wrong: number;
  readonly rouge1: number;
  readonly rouge2: number;
  readonly verdict: string;
  readonly error: number | null;
  readonly sentence: string;
}

interface Found {
  readonly ids: readonly number[];
  readonly sure: boolean;
}

const PEAK =
  "process.on('exit', () => process.stderr.write('peak ' + /VmHWM:\\s+(\\d+)/.exec(require('node:fs').readFileSync('/proc/self/status', 'utf8'))[1] + '\\n'));";

/** F1 of shared n-grams (ROUGE-n), 0 to 1. */
function rouge(found: readonly number[], wanted: readonly number[], n: number): number {
  const grams = (ids: readonly number[]): Map<string, number> => {
    const counts = new Map<string, number>();
    for (let at = 0; at + n <= ids.length; at++) {
      const gram = ids.slice(at, at + n).join(' ');
      counts.set(gram, (counts.get(gram) ?? 0) + 1);
    }
    return counts;
  };
  const [own, theirs] = [grams(found), grams(wanted)];
  const shared = [...own].reduce((sum, [gram, count]) => sum + Math.min(count, theirs.get(gram) ?? 0), 0);
  const all = found.length + wanted.length - 2 * (n - 1);
  return all > 0 ? (2 * shared) / all : 0;
}

/** Each true text beside the found one that it shares most with, as published figures are. */
function scores(found: readonly Found[], wanted: readonly (readonly number[])[], n: number): number {
  const best = wanted.map((text) => Math.max(0, ...found.map(({ ids }) => rouge(ids, text, n))));
  return (100 * best.reduce((sum, own) => sum + own, 0)) / wanted.length;
}

function auditOf(folder: string, hook: string): { report: Report | undefined; seconds: number; megabytes: number } {
  const started = performance.now();
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['-r', hook, join('dist', 'cli.js'), 'audit', folder, '--format', 'json'],
    { encoding: 'utf8', maxBuffer: 2 ** 28 },
  );
  const seconds = (performance.now() - started) / 1000;
  const report = stdout === '' ? undefined : (JSON.parse(stdout) as Report);
  if (!report) {
    console.log(stderr);
  }
  return { report, seconds, megabytes: Number(/peak (\d+)/.exec(stderr)?.[1]) / 1024 };
}

function outcomeOf(folder: string, seed: number, hook: string): Outcome {
  const { tokens } = JSON.parse(readFileSync(join(folder, 'texts.json'), 'utf8')) as { tokens: number[][] };
  const { report, seconds, megabytes } = auditOf(folder, hook);
  const leak = report?.leaks.find(({ method }) => method === 'texts');
  const verdict = leak?.certificate?.verdict ?? 'none';
  const found = (leak?.details ?? [])
    .flatMap((detail) => (detail.type === 'texts' ? detail.texts : []))
    .map((text): Found => ({
      ids: text.tokens.map(({ id }) => id),
      sure: verdict === 'exact' && text.tokens.every(({ isUncertain }) => isUncertain !== true),
    }));
  const wanted = new Map<string, number>();
  for (const text of tokens) {
    wanted.set(text.join(' '), (wanted.get(text.join(' ')) ?? 0) + 1);
  }
  const [exact, sure, wrong] = [{ count: 0 }, { count: 0 }, { count: 0 }];
  for (const { ids, sure: isSure } of found) {
    const key = ids.join(' ');
    const left = wanted.get(key) ?? 0;
    wanted.set(key, left - 1);
    exact.count += left > 0 ? 1 : 0;
    sure.count += left > 0 && isSure ? 1 : 0;
    wrong.count += left <= 0 && isSure ? 1 : 0;
  }
  return {
    seed,
    seconds,
    megabytes,
    texts: tokens.length,
    exact: exact.count,
    sure: sure.count,
    wrong: wrong.count,
    rouge1: scores(found, tokens, 1),
    rouge2: scores(found, tokens, 2),
    verdict,
    error: leak?.certificate?.error ?? null,
    sentence: leak?.title ?? report?.verdict.sentence ?? 'no report',
  };
}

function main([python, out, dumps, ...options]: string[]): void {
  if (python === undefined || out === undefined || dumps === undefined) {
    throw new Error('PYTHON OUT DUMPS MODEL BLOCKS WIDTH BATCH LENGTH [OPTIONS OF make_texts.py]');
  }
  const work = mkdtempSync(join(tmpdir(), 'gradleak-texts-'));
  const outcomes: Outcome[] = [];
  try {
    const hook = join(work, 'memory.cjs');
    appendFileSync(hook, PEAK);
    for (let seed = 0; seed < Number(dumps); seed++) {
      const folder = join(work, String(seed));
      const sizes = options.slice(0, 5);
      const script = [join('test', 'bench', 'texts', 'make_texts.py'), folder, ...sizes, String(seed)];
      const made = spawnSync(python, [...script, ...options.slice(5)], { encoding: 'utf8' });
      if (made.status !== 0) {
        throw new Error(made.stderr);
      }
      const outcome = outcomeOf(folder, seed, hook);
      rmSync(folder, { recursive: true });
      outcomes.push(outcome);
      appendFileSync(out, `${JSON.stringify({ row: options.join(' '), ...outcome })}\n`);
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  const sum = (of: (outcome: Outcome) => number): number => outcomes.reduce((all, own) => all + of(own), 0);
  const mean = (of: (outcome: Outcome) => number): string => (sum(of) / outcomes.length).toFixed(1);
  const range = (of: (outcome: Outcome) => number): string =>
    `${Math.round(Math.min(...outcomes.map(of)))} to ${Math.round(Math.max(...outcomes.map(of)))}`;
  console.log(
    `${options.join(' ')}: texts exact ${sum(({ exact }) => exact)} (sure ${sum(({ sure }) => sure)}) of ${sum(({ texts }) => texts)},`,
    `wrong ${sum(({ wrong }) => wrong)}, ROUGE-1 ${mean(({ rouge1 }) => rouge1)}, ROUGE-2 ${mean(({ rouge2 }) => rouge2)},`,
    `confirmed ${outcomes.filter(({ verdict }) => verdict === 'exact').length} of ${outcomes.length} dumps,`,
    `${range(({ seconds }) => seconds)} s, ${range(({ megabytes }) => megabytes)} MB`,
  );
}

main(process.argv.slice(2));
