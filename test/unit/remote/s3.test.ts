import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { serveFrom } from '../../../src/formats/byte-source.js';
import { openTensorFile } from '../../../src/formats/open.js';
import { finishedReport } from '../../../src/project/audit-job.js';
import { isRemote, placeOf } from '../../../src/remote/address.js';
import { mirrorAll } from '../../../src/remote/mirror.js';
import { MirroredFiles } from '../../../src/remote/remote-files.js';
import { S3Client } from '../../../src/remote/s3-client.js';
import { S3Store } from '../../../src/remote/s3-store.js';
import type { ProjectReport } from '../../../src/protocol/project-report.js';
import type { Report } from '../../../src/protocol/report.js';
import { type S3Server, startS3 } from '../../s3-server.js';
import { writeSafetensors } from '../../write-fixtures.js';

/** Projects and results in a local S3-compatible server, over HTTP; the thread is that of dist/, which "npm test" has built. */

const ROOT = join(import.meta.dirname, '..', '..', '..');
const FIXTURES = join(ROOT, 'test', 'fixtures', 'dumps');
const DUMPS = ['k10_hard_bias_default', 'k10_mixup_bias_default', 'in_safetensors'];
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-s3-test-'));
const pause = (): Promise<void> => Promise.resolve();
const PROJECT = placeOf('s3://updates/rounds/');
let server: S3Server;
let client: S3Client;
let count = 0;

beforeAll(async () => {
  mkdirSync(join(scratch, 'objects'));
  server = await startS3(join(scratch, 'objects'), 'updates');
  Object.assign(process.env, server.env);
  client = new S3Client();
  for (const dump of DUMPS) {
    for (const name of readdirSync(join(FIXTURES, dump))) {
      await client.put(PROJECT, `one/${dump}/${name}`, readFileSync(join(FIXTURES, dump, name)), false);
    }
  }
});
afterEach(() => {
  serveFrom({ open: () => undefined, identity: () => undefined });
});
afterAll(async () => {
  client.close();
  for (const name of Object.keys(server.env)) {
    Reflect.deleteProperty(process.env, name);
  }
  await server.stop();
  rmSync(scratch, { recursive: true, force: true });
});

async function mirrored(prefix: string): Promise<string> {
  const root = join(scratch, `mirror-${++count}`);
  await mirrorAll(client, placeOf(prefix), root, pause);
  serveFrom(new MirroredFiles(root, client));
  return root;
}

function command(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [join(ROOT, 'dist', 'cli.js'), ...args], {
      env: { ...process.env, ...server.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [out, err] = ['', ''];
    child.stdout.on('data', (text: Buffer) => (out += text.toString()));
    child.stderr.on('data', (text: Buffer) => (err += text.toString()));
    child.on('close', (code) => {
      resolve({ code, out, err });
    });
  });
}

/** Mirrors and results that commands did not remove. */
function leftOver(): string[] {
  return readdirSync(tmpdir()).filter((name) => /^gradleak-(s3|results)-/.test(name));
}

describe('addresses', () => {
  it('are a bucket and a prefix', () => {
    expect(isRemote('/data/s3')).toBe(false);
    expect(placeOf('s3://bucket')).toEqual({ bucket: 'bucket', prefix: '' });
    expect(placeOf('s3://bucket/a/b//')).toEqual({ bucket: 'bucket', prefix: 'a/b/' });
    expect(() => placeOf('s3:///a')).toThrow(/without a bucket/);
  });
});

describe('a project in an object store', () => {
  it('is planned, audited by shares and merged as a folder is', async () => {
    const before = leftOver();
    const [manifest, out, plain] = ['manifest.jsonl', 'merged', 'plain'].map((name) => join(scratch, name)) as [
      string,
      string,
      string,
    ];
    expect(await command('plan', 's3://updates/rounds', '--out', manifest)).toMatchObject({ code: 0, err: '' });
    const audit = ['audit', '--manifest', manifest, '--out', 's3://updates/results'];
    const [one, two] = await Promise.all([command(...audit, '--shard', '1/2'), command(...audit, '--shard', '2/2')]);
    expect([one.code, two.code, one.err, two.err]).toEqual([0, 0, '', '']);
    expect(await command(...audit)).toMatchObject({
      code: 0,
      out: expect.stringContaining('3 audited before') as string,
    });
    expect(await command('merge', 's3://updates/results', '--out', out)).toMatchObject({ code: 0 });
    await command('audit', FIXTURES, '--out', plain, '--exclude', `!(${DUMPS.join('|')})/**`);
    const [merged, local] = [out, plain].map(
      (folder) => JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8')) as ProjectReport,
    );
    expect(merged!.root).toBe('s3://updates/rounds');
    expect(merged!.entries.map(({ result }) => result)).toEqual(local!.entries.map(({ result }) => result));
    expect(merged!.entries.map(({ gradients }) => gradients)).toEqual(
      local!.entries.map((own) => `one/${own.gradients}`),
    );
    expect(leftOver()).toEqual(before);
  }, 60_000);

  it('is read by ranges: its directory and the tensors that are needed', async () => {
    const source = join(FIXTURES, 'in_safetensors');
    const tensorsOf = (name: string): Record<string, { shape: number[]; data: Float32Array }> => {
      const file = openTensorFile(join(source, `${name}.safetensors`));
      const all = Object.fromEntries(
        file.entries.map((entry) => [
          entry.name,
          { shape: [...entry.shape], data: Float32Array.from(file.read(entry.name).data) },
        ]),
      );
      file.close();
      return all;
    };
    let whole = 0;
    for (const name of ['checkpoint', 'gradient']) {
      const path = join(scratch, `${name}.safetensors`);
      // Layers that the head's method does not look at.
      const more = Object.fromEntries(
        [0, 1, 2, 3].map((at) => [`stack.${at}.kernel`, { shape: [16, 2 ** 16], data: new Float32Array(2 ** 20) }]),
      );
      writeSafetensors(path, { ...more, ...tensorsOf(name) });
      whole += statSync(path).size;
      await client.put(placeOf('s3://updates/large'), `${name}.safetensors`, readFileSync(path), false);
    }
    const root = await mirrored('s3://updates/large');
    const before = await client.traffic();
    const { report } = await runAudit(
      {
        checkpoint: join(root, 'checkpoint.safetensors'),
        gradients: join(root, 'gradient.safetensors'),
        method: 'auto',
      },
      { progress: () => undefined, pause },
    );
    const read = (await client.traffic()).bytes - before.bytes;
    const [local] = (
      await runAudit(
        {
          checkpoint: join(source, 'checkpoint.safetensors'),
          gradients: join(source, 'gradient.safetensors'),
          method: 'auto',
        },
        { progress: () => undefined, pause },
      )
    ).report.samples;
    expect(report.samples[0]?.label).toEqual(local?.label);
    expect(report.inputs.files).toEqual([]);
    expect(report.inputs.objects?.map(({ role }) => role)).toEqual(['gradient', 'checkpoint']);
    expect(whole).toBeGreaterThan(2 ** 25);
    // Of the checkpoint no layer but the head; of the gradient everything once, as every number must be finite.
    expect(read).toBeLessThan(0.6 * whole);
  }, 60_000);

  it('is not what it was when an object was replaced', async () => {
    const place = placeOf('s3://updates/changing');
    const bytes = readFileSync(join(FIXTURES, 'in_safetensors', 'gradient.safetensors'));
    await client.put(place, 'gradient.safetensors', bytes, false);
    const root = await mirrored('s3://updates/changing');
    bytes[bytes.length - 1]! ^= 1;
    await client.put(place, 'gradient.safetensors', bytes, false);
    expect(() => openTensorFile(join(root, 'gradient.safetensors'))).toThrow(/replaced since it was listed/);
  });

  it('leads nowhere else: names that leave the folder are left out, and no other folder is looked for there', async () => {
    const place = placeOf('s3://updates/hostile');
    const bytes = Buffer.from('x');
    for (const name of ['a/gradient.pt', 'a/.gradleak-remote.json', 'a\\..\\b.pt']) {
      await client.put(place, name, bytes, false);
    }
    const root = await mirrored('s3://updates/hostile');
    expect(readdirSync(root)).toEqual(['a']);
    expect(readdirSync(join(root, 'a')).sort()).toEqual(['.gradleak-remote.json', 'gradient.pt']);
    const elsewhere = join(scratch, 'elsewhere');
    mkdirSync(elsewhere);
    const list = readFileSync(join(root, 'a', '.gradleak-remote.json'));
    const { writeFileSync } = await import('node:fs');
    writeFileSync(join(elsewhere, '.gradleak-remote.json'), list);
    writeFileSync(join(elsewhere, 'gradient.pt'), 'y');
    expect(new MirroredFiles(root, client).open(join(elsewhere, 'gradient.pt'))).toBeUndefined();
  });

  it('that does not answer is told, with what to check', async () => {
    const { code, err } = await new Promise<{ code: number | null; err: string }>((resolve) => {
      const child = spawn(
        process.execPath,
        [join(ROOT, 'dist', 'cli.js'), 'plan', 's3://updates/rounds', '--out', join(scratch, 'none.jsonl')],
        {
          env: { ...process.env, ...server.env, AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:1' },
          stdio: ['ignore', 'ignore', 'pipe'],
        },
      );
      let own = '';
      child.stderr.on('data', (text: Buffer) => (own += text.toString()));
      child.on('close', (ended) => {
        resolve({ code: ended, err: own });
      });
    });
    expect(code).toBe(2);
    expect(err).toMatch(/s3:\/\/updates\/rounds.*ECONNREFUSED/);
    expect(err).toContain('AWS_ENDPOINT_URL_S3');
  }, 30_000);
});

describe('results in an object store', () => {
  it('are there when their report is, with the failure taken back', async () => {
    const store = new S3Store(client, placeOf('s3://updates/store'));
    const id = '0123456789abcdef0123';
    expect([await store.has(id), await store.report(id), await store.failure(id)]).toEqual([
      false,
      undefined,
      undefined,
    ]);
    const failure = { id, gradients: 'g.pt', problem: 'It broke.', isFinal: false, attempts: 2, host: 'h' };
    await store.fail(failure);
    expect(await store.failure(id)).toEqual(failure);
    const folder = await store.begin();
    const { report } = await runAudit(
      {
        checkpoint: join(FIXTURES, 'k10_hard_bias_default', 'checkpoint.pt'),
        gradients: join(FIXTURES, 'k10_hard_bias_default', 'gradient.pt'),
        method: 'auto',
        out: folder,
      },
      { progress: () => undefined, pause },
    );
    expect(await store.commit(id, folder)).toBe(true);
    expect(await store.failure(id)).toBeUndefined();
    expect((await store.report(id))?.samples).toEqual((JSON.parse(JSON.stringify(report)) as Report).samples);
    // Keys may lead anywhere.
    await client.put(placeOf('s3://updates/store'), `entries/${id}/../../evil`, Buffer.from('x'), false);
    const fetched = join(scratch, 'fetched');
    mkdirSync(fetched);
    await store.fetch(id, fetched);
    expect(finishedReport(fetched)?.samples).toEqual((JSON.parse(JSON.stringify(report)) as Report).samples);
    expect(readdirSync(fetched)).toContain('features.npy');
    store.dispose();
  });
});
