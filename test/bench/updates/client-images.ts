import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { openDump } from '../../../src/audit/run-audit.js';
import { makeEngine } from '../../../src/engine/make-engine.js';
import { Facts } from '../../../src/facts/facts.js';
import { openTensorFile } from '../../../src/formats/open.js';
import { CLIENT_COUNTS } from '../../../src/methods/client-labels/client-counts.js';
import { clientTasks } from '../../../src/methods/simulated-client/client-task.js';
import { searchClient } from '../../../src/methods/simulated-client/search-client.js';
import { leastAssignment } from '../../../src/recovery/assignment.js';

/**
 * Images searched by simulating the clients that make_clients.py wrote: for each, the share above 19 dB under the assignment that
 * suits them best, the median PSNR, what stays unexplained, and of every image its PSNR beside how far the searches agree on it.
 *
 *     npx vite-node test/bench/updates/client-images.ts FOLDER PATTERN [SECONDS] [counts of the truth: true]
 */

const [folder = '.', pattern = '', limit = '600', trueCounts = ''] = process.argv.slice(2);
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };
const groups = new Map<string, number[]>();

for (const name of readdirSync(folder).sort()) {
  if (new RegExp(pattern).test(name)) {
    const row = await searched(name);
    console.log(JSON.stringify(row));
    const setting = name.replace(/-\d+$/, '');
    groups.set(setting, [...(groups.get(setting) ?? []), ...row.psnr]);
  }
}
groups.forEach((psnr, setting) => {
  const sorted = psnr.sort((one, other) => one - other);
  const above = sorted.filter((own) => own > 19).length;
  console.log(`${setting}: ${above} of ${sorted.length} above 19 dB, median ${sorted[sorted.length >> 1]} dB`);
});

async function searched(name: string): Promise<{ name: string; psnr: number[] }> {
  const own = join(folder, name);
  const truth = JSON.parse(readFileSync(join(own, 'client.json'), 'utf8')) as { labels: number[]; classes: number };
  const request = { checkpoint: join(own, 'checkpoint.pt'), gradients: join(own, 'after.pt'), method: 'auto' as const };
  const dump = openDump(request);
  const engine = await makeEngine('onnxruntime-cpu', { threads: 1 });
  try {
    const facts = new Facts({ request, ...dump, hooks });
    const found = await facts.get(CLIENT_COUNTS);
    if ('why' in found) {
      throw new Error(found.why);
    }
    const counts =
      trueCounts === 'true'
        ? Array.from({ length: truth.classes }, (_, at) => truth.labels.filter((label) => label === at).length)
        : found.counts;
    const { learningRate: rate, ...training } = found.training;
    const { tasks, problem } = await clientTasks(
      facts,
      { attack: 'auto', preset: 'soft-label', engine: 'auto', timeLimitSeconds: Number(limit) },
      hooks.pause,
    );
    if (tasks.length === 0) {
      throw new Error(problem);
    }
    const began = performance.now();
    const stated = { ...training, rate, steps: found.steps };
    const result = await searchClient(tasks, counts, stated, engine, Number(limit), hooks.pause);
    if (!result) {
      throw new Error('Not enough time.');
    }
    const file = openTensorFile(join(own, 'image.pt'));
    const images = file.read(file.entries[0]!.name).data;
    file.close();
    const psnr = psnrOf(inPixels(result.images, result.task.bounds), images, training.samples);
    const round = (value: number): number => Math.round(10 * value) / 10;
    return {
      name,
      psnr: psnr.map(round),
      ...{
        agreement: result.agreement?.map((value) => Math.round(1000 * value) / 1000),
        unexplained: Number(result.error.toPrecision(3)),
        ends: result.curves.map((curve) => Number(curve.at(-1)?.error.toPrecision(3))),
        network: result.task.network.name,
        bounds: result.task.bounds[0],
        seconds: Math.round((performance.now() - began) / 1000),
        wrongClasses: counts.reduce(
          (sum, count, at) => sum + Math.max(0, count - truth.labels.filter((label) => label === at).length),
          0,
        ),
      },
    };
  } finally {
    await engine.dispose();
    dump.close();
  }
}

function inPixels(images: Float64Array, bounds: readonly (readonly [number, number])[]): Float64Array {
  const [[low, high] = [0, 1]] = bounds;
  return images.map((value) => (value - low) / (high - low));
}

/** PSNR of every found image, dB. @param found,truth N x d, between 0 and 1 */
function psnrOf(found: Float64Array, truth: Float64Array, samples: number): number[] {
  const size = truth.length / samples;
  const errors = Array.from({ length: samples }, (_, row) =>
    Array.from({ length: samples }, (__, column) => {
      let sum = 0;
      for (let at = 0; at < size; at++) {
        sum += (found[row * size + at]! - truth[column * size + at]!) ** 2;
      }
      return sum / size;
    }),
  );
  const columns = leastAssignment(errors.map((row) => row.map((own) => Math.log(own))));
  return errors.map((row, at) => -10 * Math.log10(row[columns[at]!]!));
}
