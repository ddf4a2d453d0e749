import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { openDump } from '../../../src/audit/run-audit.js';
import { makeEngine } from '../../../src/engine/make-engine.js';
import { Facts } from '../../../src/facts/facts.js';
import { openTensorFile } from '../../../src/formats/open.js';
import { type AttackSettings, attackClient } from '../../../src/methods/simulated-client/attack-client.js';
import { CLIENT_COUNTS } from '../../../src/methods/client-labels/client-counts.js';
import { clientTask } from '../../../src/methods/simulated-client/client-task.js';
import { SETTINGS } from '../../../src/methods/simulated-client/settings.js';
import { simulatedClient } from '../../../src/recovery/simulated-client/client.js';
import { distanceOf } from '../../../src/recovery/simulated-client/distance.js';
import { asWhole, inBatches, oneHot, spreadLabels } from '../../../src/recovery/simulated-client/plan.js';
import { bestAssignment } from './assignment.js';

/**
 * Images reconstructed from what make_clients.py wrote: for each setting the share above 19 dB under the assignment that suits
 * them best, the median PSNR, the update's share that stays unexplained, and seconds.
 *
 *     node client-images.cjs FOLDER PATTERN [seconds=60] [counts=true|recovered] [any of SETTINGS=number]
 */

const [folder = '.', pattern = '', ...options] = process.argv.slice(2);
const given = new Map(options.map((option) => option.split('=') as [string, string]));
const seconds = Number(given.get('seconds') ?? 60);
const settings = {
  ...SETTINGS,
  ...Object.fromEntries([...given].filter(([key]) => key in SETTINGS).map(([key, value]) => [key, key === 'distance' ? value : key === 'signed' ? value === 'true' : Number(value)])),
} as AttackSettings;
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };

interface ClientTruth {
  readonly labels: readonly number[];
  readonly classes: number;
}

interface Row {
  readonly psnr: readonly number[];
  readonly error: number;
  readonly seconds: number;
}

async function attacked(name: string): Promise<Row> {
  const own = join(folder, name);
  const truth = JSON.parse(readFileSync(join(own, 'client.json'), 'utf8')) as ClientTruth;
  const request = {
    checkpoint: join(own, 'checkpoint.pt'),
    gradients: join(own, 'after.pt'),
    method: 'auto' as const,
  };
  const dump = openDump(request);
  const engine = await makeEngine('onnxruntime-cpu', { threads: 1 });
  try {
    const facts = new Facts({ request, ...dump, hooks });
    const found = await facts.get(CLIENT_COUNTS);
    if ('why' in found) {
      throw new Error(found.why);
    }
    const { training } = found;
    const task = await clientTask(
      facts,
      { attack: 'auto', preset: 'soft-label', engine: 'auto', timeLimitSeconds: seconds },
      training,
      hooks.pause,
    );
    if (typeof task === 'string') {
      throw new Error(task);
    }
    const counted = Array.from(
      { length: truth.classes },
      (_, index) => truth.labels.filter((label) => label === index).length,
    );
    const counts = given.get('counts') === 'recovered' ? found.counts : counted;
    let known: any;
    if (given.has('order')) {
      const orders = JSON.parse(readFileSync(`/tmp/orders/${name}.json`, 'utf8')) as number[][];
      const size = training.batchSize;
      known = { labels: truth.labels, steps: orders.flatMap((o) => Array.from({ length: Math.ceil(o.length / size) }, (_, i) => ({ samples: o.slice(i * size, i * size + size), rate: training.learningRate }))) };
    }
    const began = performance.now();
    const result = await attackClient(task, counts, engine, settings, seconds, hooks, known);
    const file = openTensorFile(join(own, 'image.pt'));
    const images = file.read(file.entries[0]!.name).data;
    file.close();
    if (given.has('truth')) {
      await floor(task, truth, counts, images, engine, known);
    }
    return {
      psnr: bestAssignment(result.images, images, training.samples),
      error: result.finalError,
      seconds: (performance.now() - began) / 1000,
    };
  } finally {
    await engine.dispose();
    dump.close();
  }
}

async function floor(task: any, truth: any, counts: any, images: any, engine: any, known: any) {
  const { learningRate: rate, epochs, batchSize: size, samples } = task.training;
  const labels = spreadLabels(counts);
  const used = new Set<number>();
  const d = images.length / samples;
  const x = new Float64Array(images.length);
  labels.forEach((l, row) => { const at = truth.labels.findIndex((t: number, i: number) => t === l && !used.has(i)); used.add(at); x.set(images.subarray(at*d,(at+1)*d), row*d); });
  for (const [name, steps] of [['stated', inBatches(samples, size, epochs, rate)], ['whole1', asWhole(samples,size,epochs,rate,1)], ['whole4', asWhole(samples,size,epochs,rate,4)]] as const) {
    const c = await simulatedClient(task.start, steps, oneHot(labels, task.classes), task.classes, task.stepOf, (o) => engine.compile(o));
    const st = await c.states(x, hooks.pause);
    const u = task.update.map((t: any) => Math.sqrt(t.reduce((a: number, b: number) => a + b*b, 0)).toExponential(1));
    console.log(name, 'at truth', (['tensors','whole','cosine','cosines'] as const).map((k) => distanceOf(task.start, st.at(-1)!, task.update, k).loss.toExponential(2)).join(' '), 'norms', u.join(' '));
    await c.dispose();
  }
  if (known) {
    const c = await simulatedClient(task.start, known.steps, oneHot(known.labels, task.classes), task.classes, task.stepOf, (o) => engine.compile(o));
    const st = await c.states(images, hooks.pause);
    console.log('known at truth', (['tensors','whole','cosine','cosines'] as const).map((k) => distanceOf(task.start, st.at(-1)!, task.update, k).loss.toExponential(2)).join(' '));
    await c.dispose();
  }
}

function told(name: string, rows: readonly Row[]): void {
  const psnr = rows.flatMap((row) => row.psnr).sort((one, other) => one - other);
  const mean = (values: readonly number[]): number => values.reduce((sum, own) => sum + own, 0) / values.length;
  console.log(
    `${name}: ${((100 * psnr.filter((own) => own > 19).length) / psnr.length).toFixed(0)} % above 19 dB, median ${psnr[psnr.length >> 1]!.toFixed(1)} dB, ` +
      `error ${mean(rows.map(({ error }) => error)).toExponential(1)}, ${mean(rows.map((row) => row.seconds)).toFixed(0)} s`,
  );
}

const groups = new Map<string, Row[]>();
for (const name of readdirSync(folder).sort()) {
  if (!new RegExp(pattern).test(name)) {
    continue;
  }
  const setting = name.replace(/-\d+$/, '');
  const row = await attacked(name);
  told(name, [row]);
  groups.set(setting, [...(groups.get(setting) ?? []), row]);
}
console.log('---');
groups.forEach((rows, setting) => {
  told(setting, rows);
});
