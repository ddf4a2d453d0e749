import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { openDump } from '../../../src/audit/run-audit.js';
import { makeEngine } from '../../../src/engine/make-engine.js';
import { Facts } from '../../../src/facts/facts.js';
import { openTensorFile } from '../../../src/formats/open.js';
import { type AttackSettings, attackClient, errorOf } from '../../../src/methods/simulated-client/attack-client.js';
import { CLIENT_COUNTS } from '../../../src/methods/simulated-client/client-counts.js';
import { clientTask } from '../../../src/methods/simulated-client/client-task.js';
import { localTraining } from '../../../src/methods/simulated-client/local-training.js';
import { SETTINGS } from '../../../src/methods/simulated-client/settings.js';
import { CAPTURE } from '../../../src/facts/update.js';
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
const settings: AttackSettings = {
  ...SETTINGS,
  ...Object.fromEntries([...given].filter(([key]) => key in SETTINGS).map(([key, value]) => [key, Number(value)])),
};
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };

interface ClientTruth {
  readonly labels: readonly number[];
  readonly classes: number;
}

interface Row {
  readonly psnr: readonly number[];
  readonly error: number;
  /** What the true samples in another order than the client's leave. */
  readonly ofTruth: number;
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
    const training = localTraining((await facts.get(CAPTURE))?.training);
    if (typeof training === 'string') {
      throw new Error(training);
    }
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
    const counts = given.get('counts') === 'recovered' ? (await facts.get(CLIENT_COUNTS))?.counts : counted;
    if (!counts) {
      throw new Error('No label counts.');
    }
    const began = performance.now();
    const result = await attackClient(task, counts, engine, settings, seconds, hooks);
    const file = openTensorFile(join(own, 'image.pt'));
    const images = file.read(file.entries[0]!.name).data;
    file.close();
    return {
      psnr: bestAssignment(result.images, images, training.samples),
      error: result.finalError,
      ofTruth: await errorOf(task, truth.labels, images, engine),
      seconds: (performance.now() - began) / 1000,
    };
  } finally {
    await engine.dispose();
    dump.close();
  }
}

function told(name: string, rows: readonly Row[]): void {
  const psnr = rows.flatMap((row) => row.psnr).sort((one, other) => one - other);
  const mean = (values: readonly number[]): number => values.reduce((sum, own) => sum + own, 0) / values.length;
  console.log(
    `${name}: ${((100 * psnr.filter((own) => own > 19).length) / psnr.length).toFixed(0)} % above 19 dB, median ${psnr[psnr.length >> 1]!.toFixed(1)} dB, ` +
      `error ${mean(rows.map(({ error }) => error)).toExponential(1)} (truth in another order ${mean(rows.map(({ ofTruth }) => ofTruth)).toExponential(1)}), ${mean(rows.map((row) => row.seconds)).toFixed(0)} s`,
  );
}

async function main(): Promise<void> {
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
}

void main();
