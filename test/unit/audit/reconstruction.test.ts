import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { CancelledError } from '../../../src/protocol/errors.js';
import type { AuditProgress, ReconstructionRequest } from '../../../src/protocol/audit-request.js';
import type { ReconstructionReport } from '../../../src/protocol/report.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import { readImages } from '../../../src/audit/output.js';
import { type AuditResult, runAudit } from '../../../src/audit/run-audit.js';
import { NETWORKS, readTensors } from '../../networks.js';

/** Whole audits up to the input, on captures of gradleak_capture.py; the truth only measures. */

const quiet = { progress: () => undefined, pause: () => Promise.resolve() };
const REQUEST: ReconstructionRequest = {
  attack: 'auto',
  preset: 'soft-label',
  engine: 'onnxruntime-cpu',
  timeLimitSeconds: 60,
};
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-reconstruction-'));

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

async function audit(name: string, request: Partial<ReconstructionRequest> = {}, out?: string): Promise<AuditResult> {
  const folder = join(NETWORKS, name);
  return runAudit(
    {
      ...pathsInFolder(folder),
      method: 'auto',
      truth: join(folder, 'truth.json'),
      reconstruction: { ...REQUEST, ...request },
      ...(out === undefined ? {} : { out }),
    },
    quiet,
  );
}

function reconstructionOf({ report }: AuditResult): ReconstructionReport {
  return report.samples[0]!.reconstruction!;
}

describe('the closed form', () => {
  it.each([
    ['lenet', 85],
    ['lenet-nobias', 85],
    ['lenet-float64', 110],
    ['lenet-leaky', 85],
    ['mlp', 110],
  ])(
    'recovers the input of %s to %d dB and knows that it did',
    async (name, decibel) => {
      const result = await audit(name, { attack: 'chain' });
      const own = reconstructionOf(result);
      expect(own).toMatchObject({ method: 'chain', verdict: 'exact' });
      expect(own.psnr).toBeGreaterThan(decibel);
      expect(own.gradientError).toBeLessThan(1e-5);
      expect(own.chain.every(({ rank, unknowns, converged }) => rank === unknowns && converged)).toBe(true);
      // What it expects of itself is not far from what the truth says.
      expect(own.expectedError! / Math.sqrt(own.mse!)).toBeLessThan(1e3);
      expect(result.report.findings[0]?.id).toBe('input-reconstructed');
      expect(result.report.verdict.sentence).toContain('the input itself was computed');
    },
    60_000,
  );

  it('says where it ends, and why', async () => {
    const own = reconstructionOf(await audit('pooled', { attack: 'chain' }));
    expect(own).toMatchObject({ method: 'none', verdict: 'failed', file: null });
    expect(own.reason).toContain('layer 2 (max-pool): a maximum tells one entry of each window');
    expect(own.chain).toHaveLength(1);
  });

  it('does not take a network that does not explain the gradient', async () => {
    const folder = join(scratch, 'unknown');
    cpSync(join(NETWORKS, 'pooled'), folder, { recursive: true });
    rmSync(join(folder, 'recipe.json'));
    const { report } = await runAudit({ ...pathsInFolder(folder), method: 'auto', reconstruction: REQUEST }, quiet);
    expect(report.samples[0]!.reconstruction!.reason).toMatch(/known networks, none of which explains the gradient/);
    expect(report.samples[0]!.status).toBe('recovered');
    expect(report.network).toBeNull();
  });

  it.each([
    ['auto', 'lenet', /was taken: its simulated gradient comes nearest$/],
    ['matching', 'mlp', /, the most usual one, was taken$/],
  ] as const)(
    'says by what the network was chosen among those that fit, with the attack "%s"',
    async (attack, name, words) => {
      const folder = join(scratch, `guessed-${attack}`);
      cpSync(join(NETWORKS, name), folder, { recursive: true });
      ['model.onnx', 'recipe.json'].forEach((file) => rmSync(join(folder, file), { force: true }));
      const reconstruction = { ...REQUEST, attack, settings: { iterations: 2, restarts: 1 } };
      const { report } = await runAudit({ ...pathsInFolder(folder), method: 'auto', reconstruction }, quiet);
      const reasons = report.network!.reasons;
      expect(reasons.filter((own) => words.test(own))).toHaveLength(1);
      expect(reasons.join(' ')).not.toMatch(/explains the gradient/);
      // Only what was simulated may be said to come nearest.
      expect(report.samples[0]!.reconstruction!.method).toBe(attack === 'auto' ? 'chain' : 'matching');
    },
  );
});

describe('gradient matching', () => {
  it('takes over where the closed form ends, and comes closer with more iterations', async () => {
    const few = reconstructionOf(await audit('pooled', { settings: { iterations: 5 } }));
    const many = reconstructionOf(await audit('pooled', { settings: { iterations: 600 } }));
    expect(many.method).toBe('matching');
    expect(many.matchingLoss!).toBeLessThan(few.matchingLoss! / 3);
    expect(many.gradientError!).toBeLessThan(few.gradientError!);
    expect(many.psnr!).toBeGreaterThan(few.psnr!);
    expect(many.matching).toMatchObject({ preset: 'soft-label', done: 600, labels: 'recovered' });
  });

  it('runs DLG as published, with free labels', async () => {
    const result = await audit('pooled', {
      attack: 'matching',
      preset: 'dlg',
      settings: { iterations: 60, learningRate: 0.5 },
    });
    const own = reconstructionOf(result);
    expect(own.matching).toMatchObject({ preset: 'dlg', optimiser: 'lbfgs', labels: 'free', distance: 'l2' });
    expect(own.gradientError!).toBeLessThan(0.05);
    expect(result.report.engine?.reasons).toEqual(['onnxruntime-cpu: taken, as asked']);
  });

  it('is shortened to fit the time limit, and says how long it takes before it starts', async () => {
    const messages: string[] = [];
    const folder = join(NETWORKS, 'operations');
    const { report } = await runAudit(
      { ...pathsInFolder(folder), method: 'auto', reconstruction: { ...REQUEST, timeLimitSeconds: 0.5 } },
      { ...quiet, progress: ({ message }) => messages.push(message) },
    );
    const { matching } = report.samples[0]!.reconstruction!;
    expect(matching!.iterations).toBeLessThan(4800);
    expect(messages.some((text) => /iterations, about \d+ s/.test(text))).toBe(true);
  });

  it('never uses the truth unless it is asked to, and then only with one', async () => {
    const folder = join(NETWORKS, 'pooled');
    const request = {
      ...pathsInFolder(folder),
      method: 'auto',
      reconstruction: { ...REQUEST, settings: { labels: 'true', iterations: 3 } },
    } as const;
    await expect(runAudit(request, quiet)).rejects.toThrow(/true labels asked for, and none given/);
    const { report } = await runAudit({ ...request, truth: join(folder, 'truth.json') }, quiet);
    const own = report.samples[0]!.reconstruction!;
    expect(own.matching!.labels).toBe('true');
    expect(own.usedTruth).toBe(true);
    expect(own.psnr).toBeTypeOf('number');
    expect(report.verdict.sentence).toMatch(/with the true label/);
    expect(report.findings.map(({ id }) => id)).not.toContain('input-reconstructed');
    const { report: without } = await runAudit(
      { ...request, reconstruction: { ...REQUEST, settings: { iterations: 3 } }, truth: join(folder, 'truth.json') },
      quiet,
    );
    expect(without.samples[0]!.reconstruction!.usedTruth).toBeUndefined();
    expect(without.verdict.sentence).not.toMatch(/true label/);
  });

  it('stops when asked, and keeps the best so far', async () => {
    const out = join(scratch, 'stopped');
    let seen: AuditProgress['reconstruction'];
    const folder = join(NETWORKS, 'pooled');
    const { report } = await runAudit(
      { ...pathsInFolder(folder), method: 'auto', out, reconstruction: REQUEST },
      {
        progress: ({ reconstruction }) => {
          seen = reconstruction?.method === 'matching' ? reconstruction : seen;
        },
        pause: () => ((seen?.iteration ?? 0) > 0 ? Promise.reject(new CancelledError()) : Promise.resolve()),
      },
    );
    expect(report.cancelled).toBe(true);
    const own = report.samples[0]!.reconstruction!;
    expect(own.reason).toContain('stopped early');
    expect(own.matching!.done).toBeLessThan(4800);
    expect(existsSync(join(out, own.file!))).toBe(true);
    // Previews are pictures.
    expect(Buffer.from(seen!.preview!, 'base64').subarray(1, 4).toString()).toBe('PNG');
  });
});

describe('the files', () => {
  it('hold the input in float32, a picture of it and the truth, and the panel reads them back', async () => {
    const out = join(scratch, 'files');
    const result = await audit('mlp', {}, out);
    const own = reconstructionOf(result);
    expect(own).toMatchObject({
      file: 'reconstruction-0.npy',
      preview: 'reconstruction-0.png',
      truthFile: 'truth-0.npy',
    });
    const [stored] = [...readTensors(join(out, own.file!)).values()];
    expect(stored!.shape).toEqual([1, 3, 8, 8]);
    expect([...stored!.data]).toEqual([...Float32Array.from(result.inputs![0]!)]);
    expect(readFileSync(join(out, own.preview!)).subarray(1, 4).toString()).toBe('PNG');
    const [image] = readImages(out, result.report);
    const bytes = Buffer.from(image!.values, 'base64');
    expect(bytes.length).toBe(4 * 192);
    expect(bytes.readFloatLE(0)).toBe(Math.fround(result.inputs![0]![0]!));
    expect(image!.truth).not.toBeNull();
    expect(readImages(join(scratch, 'gone'), result.report)).toEqual([]);
  });
});

describe('what cannot be used', () => {
  it('a given recipe that does not fit is an error that names the layer', async () => {
    const path = join(scratch, 'wrong.json');
    writeFileSync(
      path,
      JSON.stringify({ schemaVersion: 1, input: [3, 32, 32], layers: [{ op: 'conv', weight: 'stem.weight' }] }),
    );
    await expect(audit('lenet', { model: path })).rejects.toThrow(
      /wrong\.json: found layer 0 \(conv "stem\.weight"\): the checkpoint holds no tensor "stem\.weight"; expected layers that fit/,
    );
  });

  it('a missing, an unknown and a broken file are named', async () => {
    await expect(audit('lenet', { model: join(scratch, 'no.onnx') })).rejects.toThrow(/no\.onnx: found no such file/);
    await expect(audit('lenet', { model: join(NETWORKS, 'lenet', 'image.pt') })).rejects.toThrow(/ending in "\.pt"/);
    writeFileSync(join(scratch, 'broken.json'), '{');
    await expect(audit('lenet', { model: join(scratch, 'broken.json') })).rejects.toThrow(/broken\.json/);
  });

  it('an engine that is not there is an error, never another engine', async () => {
    await expect(audit('pooled', { attack: 'matching', engine: 'tfjs-node' })).rejects.toThrow(
      /tfjs-node does not work here.*is not installed.*See which engines work here/,
    );
  });

  it('an input of the wrong size is said before anything runs', async () => {
    await expect(audit('lenet', { attack: 'chain', inputShape: [3, 64, 64] })).resolves.toMatchObject({
      report: { samples: [{ reconstruction: { method: 'none' } }] },
    });
  });
});
