import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { AuditRequest } from '../../../src/protocol/audit-request.js';
import { CancelledError } from '../../../src/protocol/errors.js';
import { openTensorFile } from '../../../src/formats/open.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import { type AuditResult, runAudit } from '../../../src/audit/run-audit.js';
import { dot } from '../../../src/recovery/vectors.js';
import { NETWORKS, relativeError } from '../../networks.js';

/** Residual networks of PyTorch, from the gradient's row spaces down to the inputs; the truth only measures. */

const scratch = mkdtempSync(join(tmpdir(), 'gradleak-maps-'));

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

function requestOf(name: string): AuditRequest {
  const folder = join(NETWORKS, name);
  return {
    ...pathsInFolder(folder),
    method: 'auto',
    truth: join(folder, 'truth.json'),
    reconstruction: { attack: 'chain', preset: 'soft-label', engine: 'onnxruntime-cpu', timeLimitSeconds: 60 },
  };
}

async function audit(name: string, out?: string): Promise<AuditResult> {
  return runAudit(
    { ...requestOf(name), ...(out === undefined ? {} : { out }) },
    { progress: () => undefined, pause: () => Promise.resolve() },
  );
}

function tensorOf(path: string): Float64Array {
  const file = openTensorFile(path);
  try {
    return file.read(file.entries[0]!.name).data;
  } finally {
    file.close();
  }
}

describe('feature maps', () => {
  it('lead to the input of one sample, certified by its gradient', async () => {
    const { report } = await audit('residual');
    const own = report.samples[0]!.reconstruction!;
    expect(own).toMatchObject({ method: 'maps', verdict: 'exact' });
    expect(own.psnr).toBeGreaterThan(100);
    expect(own.gradientError).toBeLessThan(1e-5);
    const leak = report.leaks.find(({ method }) => method === 'input')!;
    const table = leak.details.find((detail) => detail.type === 'table')!;
    const cells = table.rows.map((row) => row.cells);
    expect(cells[0]!.slice(1, 3)).toEqual(['layer2.0.conv2', 'row space']);
    expect(cells.some(([, , by]) => by === 'equations')).toBe(true);
    const text = leak.details.find((detail) => detail.type === 'text')!.text;
    expect(text).toContain('`layer2.0.conv2` alone');
    expect(text).toContain('48 output channels are more than its 16 positions');
    expect(text).toContain('more than 2 samples close this way');
  });

  it('lead to the input of a prediction so sure that float32 rounded what is left of its class', async () => {
    const { report } = await audit('residual-sure');
    const own = report.samples[0]!.reconstruction!;
    expect(own).toMatchObject({ method: 'maps', verdict: 'exact' });
    expect(own.psnr).toBeGreaterThan(80);
    // With the p - 1 that float64 has, all layers are off by its rounding, and so the right input looked wrong.
    expect(own.gradientError).toBeLessThan(1e-5);
  });

  it('tell how large the input was, where nothing else does', async () => {
    const folder = join(scratch, 'unsized');
    mkdirSync(folder);
    for (const name of ['checkpoint.pt', 'gradient.pt']) {
      copyFileSync(join(NETWORKS, 'residual', name), join(folder, name));
    }
    const { truth, ...asked } = requestOf('residual');
    expect(truth).toBeDefined();
    const { report } = await runAudit(
      { ...asked, ...pathsInFolder(folder) },
      { progress: () => undefined, pause: () => Promise.resolve() },
    );
    expect(report.samples[0]!.reconstruction).toMatchObject({ method: 'maps', verdict: 'exact', shape: [3, 8, 8] });
    expect(report.network!.reasons.join('\n')).toContain('inputs of 8 x 8: layer2.0.conv2 saw 4 x 4 positions');
  });

  it('lead to the input through max poolings, whose choices are found with the values', async () => {
    const { report } = await audit('two-convolutions');
    const own = report.samples[0]!.reconstruction!;
    expect(own).toMatchObject({ method: 'maps', verdict: 'exact' });
    expect(own.psnr).toBeGreaterThan(100);
    const leak = report.leaks.find(({ method }) => method === 'input')!;
    const table = leak.details.find((detail) => detail.type === 'table')!;
    expect(table.rows.map(({ cells }) => cells.slice(1, 3))).toContainEqual(['conv2', 'maxima']);
  });

  it('lead to the input below batch normalisation in train mode, up to its size', async () => {
    const { report } = await audit('residual-train');
    const own = report.samples[0]!.reconstruction!;
    expect(own.method).toBe('maps');
    expect(own.gradientError).toBeLessThan(1e-4);
    expect(own.psnrFitted).toBeGreaterThan(100);
    // Its gradient is that of the input in any size: what is said must not promise one.
    expect(own).toMatchObject({ verdict: 'close', sizeOpen: true });
    expect(own.reason).toMatch(/this is the input, up to one factor\. Batch normalisation in train mode/);
    const leak = report.leaks.find(({ method }) => method === 'input')!;
    const table = leak.details.find((detail) => detail.type === 'table')!;
    const by = table.rows.map(({ cells }) => cells[2]);
    expect(new Set(by)).toEqual(new Set(['row space', 'equations']));
  });

  it('lead to both inputs of a batch below batch normalisation in train mode, up to one size', async () => {
    const out = join(scratch, 'train-batch');
    const { report } = await audit('residual-train-batch', out);
    expect(report.verdict.outcome).toBe('leaks');
    const leak = report.leaks.find(({ method }) => method === 'input')!;
    // In any size their gradient is the same: neither is promised in one.
    expect(leak).toMatchObject({ gives: { inputs: 0 }, certificate: { by: 'gradient', verdict: 'close' } });
    expect(report.findings.find(({ id }) => id === 'batch-inputs-reconstructed')?.evidence).toContain(
      'all but hides the contrast that all of them have in common',
    );
    const truth = tensorOf(join(NETWORKS, 'residual-train-batch', 'image.npy'));
    const found = [0, 1].map((at) => tensorOf(join(out, `batch-input-${at}.npy`)));
    const size = truth.length / 2;
    const fits = found.map((own) =>
      [0, 1].map((row) => {
        const wanted = truth.subarray(row * size, (row + 1) * size);
        const factor = dot(own, wanted) / dot(own, own);
        return {
          factor,
          error: relativeError(
            own.map((value) => factor * value),
            wanted,
          ),
        };
      }),
    );
    const rows = fits.map((own) => own.findIndex(({ error }) => error < 1e-4));
    expect(rows.slice().sort()).toEqual([0, 1]);
    const [one, other] = fits.map((own, at) => own[rows[at]!]!.factor);
    expect(one! / other!).toBeCloseTo(1, 3);
  });

  it('tell a batch that the head does not: its inputs, and labels from them', async () => {
    const out = join(scratch, 'batch');
    const { report } = await audit('residual-batch', out);
    expect(report.samples).toHaveLength(0);
    expect(report.verdict.outcome).toBe('leaks');
    const leak = report.leaks.find(({ method }) => method === 'input')!;
    expect(leak).toMatchObject({ gives: { inputs: 2 }, certificate: { by: 'gradient', verdict: 'exact' } });
    const truth = tensorOf(join(NETWORKS, 'residual-batch', 'image.npy'));
    const size = truth.length / 2;
    const found = [0, 1].map((at) => tensorOf(join(out, `batch-input-${at}.npy`)));
    const nearest = found.map((own) => {
      const errors = [0, 1].map((row) => relativeError(own, truth.subarray(row * size, (row + 1) * size)));
      return { row: errors.indexOf(Math.min(...errors)), error: Math.min(...errors) };
    });
    expect(new Set(nearest.map(({ row }) => row)).size).toBe(2);
    for (const { error } of nearest) {
      expect(error).toBeLessThan(1e-4);
    }
    const labels = leak.details.find((detail) => detail.type === 'table')!;
    expect(labels.rows.map(({ cells }) => cells.slice(1, 3)).sort()).toEqual([
      ['1', '0.920'],
      ['2', '0.920'],
    ]);
    expect(report.findings.find(({ id }) => id === 'batch-inputs-reconstructed')?.evidence).toContain(
      '`layer2.0.conv2` alone begins it: 48 output channels at 16 positions give away batches of up to 2.',
    );
  });

  it('tell a batch of sure predictions, under what float32 left of their p - y', async () => {
    const { report } = await audit('residual-sure-batch');
    const leak = report.leaks.find(({ method }) => method === 'input')!;
    expect(leak).toMatchObject({ gives: { inputs: 2 }, certificate: { by: 'gradient', verdict: 'exact' } });
    expect(leak.certificate!.error).toBeLessThan(1e-5);
  });

  it.each([1, 5, 20, 60])('keep the labels when stopped at pause %d of the way down', async (after) => {
    let pauses = -1;
    const { report } = await runAudit(requestOf('residual'), {
      progress: ({ message }) => {
        if (pauses < 0 && message.startsWith('Solving layer')) {
          pauses = 0;
        }
      },
      pause: () => {
        if (pauses >= 0 && pauses++ >= after) {
          return Promise.reject(new CancelledError());
        }
        return Promise.resolve();
      },
    });
    expect(pauses).toBeGreaterThan(0);
    expect(report.samples).toHaveLength(1);
    expect(report.samples[0]!.reconstruction?.verdict).not.toBe('exact');
  });
});
