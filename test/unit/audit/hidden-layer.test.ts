import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { openTensorFile } from '../../../src/formats/open.js';
import type { AuditRequest } from '../../../src/protocol/audit-request.js';
import { CancelledError } from '../../../src/protocol/errors.js';
import type { Report } from '../../../src/protocol/report.js';
import { readTensors, relativeError } from '../../networks.js';
import { writeSafetensors } from '../../write-fixtures.js';

/** Batches of PyTorch's that a head of five classes does not tell apart, and the layer before it does; the truth only measures. */

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures', 'hidden');
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-hidden-'));
const quiet = { progress: () => undefined, pause: () => Promise.resolve() };

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

async function audit(name: string, given: Partial<AuditRequest> = {}): Promise<Report> {
  const folder = join(FIXTURES, name);
  const request: AuditRequest = {
    checkpoint: join(folder, 'checkpoint.pt'),
    gradients: join(folder, 'gradient.pt'),
    method: 'auto',
    ...given,
  };
  return (await runAudit(request, quiet)).report;
}

function withInputs(inputShape?: number[]): Partial<AuditRequest> {
  return {
    reconstruction: {
      attack: 'chain',
      preset: 'soft-label',
      engine: 'onnxruntime-cpu',
      timeLimitSeconds: 60,
      ...(inputShape ? { inputShape } : {}),
    },
  };
}

function rowsOf(path: string): Float64Array[] {
  const file = openTensorFile(path);
  try {
    const [entry] = file.entries;
    const { data } = file.read(entry!.name);
    const size = data.length / entry!.shape[0]!;
    return Array.from({ length: entry!.shape[0]! }, (_, at) => data.slice(at * size, (at + 1) * size));
  } finally {
    file.close();
  }
}

/** Which true row each found one is, and how far off: relative to its length. */
function nearest(found: readonly Float64Array[], truth: readonly Float64Array[]): { which: number; error: number }[] {
  return found.map((own) => {
    const errors = truth.map((wanted) => relativeError(own, wanted));
    const error = Math.min(...errors);
    return { which: errors.indexOf(error), error };
  });
}

const leakOf = ({ leaks }: Report, method: string) => leaks.find((own) => own.method === method);
const rowOf = ({ methods }: Report) => methods!.find(({ id }) => id === 'hidden-layer');

describe('samples of a batch in a hidden layer', () => {
  it.each([
    ['mlp', 10, true],
    ['normalised', 10, true],
    ['mixup', 10, true],
    ['dense', 8, true],
    ['conv', 8, false],
    ['fedavg', 5, false],
  ])('are told apart, each as PyTorch had it: %s', async (name, count, isInput) => {
    const out = join(scratch, name);
    const report = await audit(name, { out });
    const leak = leakOf(report, 'hidden-layer')!;
    expect(leak).toMatchObject({
      tensor: 'fc1.weight',
      sample: null,
      noun: isInput ? 'Inputs' : 'Features',
      amount: `${count} samples`,
      certificate: { by: 'equations', verdict: 'exact' },
      gives: { inputs: isInput ? count : 0 },
    });
    expect(report.findings).toContainEqual(
      expect.objectContaining({ id: 'hidden-samples-computed', severity: isInput ? 'critical' : 'high' }),
    );
    const truth = rowsOf(join(FIXTURES, name, 'features.npy'));
    const found = nearest(rowsOf(join(out, 'hidden-inputs.npy')), truth);
    expect(new Set(found.map(({ which }) => which)).size).toBe(count);
    const worst = Math.max(...found.map(({ error }) => error));
    expect(worst).toBeLessThan(1e-5);
    // What it expects of itself is no less than a fifth of what it is.
    const size = Math.max(...truth.map((own) => Math.hypot(...own) / Math.sqrt(own.length)));
    expect(leak.certificate!.expectedError! * 5).toBeGreaterThan((worst * size) / 2);
  });

  it.each([
    ['of more samples than half the units', 'many'],
    ['of units that are no rectifiers', 'sigmoid'],
  ])('are not told where the layer is %s', async (_, name) => {
    const report = await audit(name);
    expect(leakOf(report, 'hidden-layer')).toBeUndefined();
    expect(rowOf(report)).toMatchObject({ outcome: 'nothing' });
  });

  it('are not told from a gradient of other weights', async () => {
    const own = readTensors(join(FIXTURES, 'mlp', 'checkpoint.pt'));
    const other = join(scratch, 'other.safetensors');
    const turned = [...own].map(([key, { shape, data }]) => [
      key,
      { shape: [...shape], data: Float32Array.from(data).reverse() },
    ]);
    writeSafetensors(other, Object.fromEntries(turned) as Parameters<typeof writeSafetensors>[1]);
    const report = await audit('mlp', { checkpoint: other });
    expect(leakOf(report, 'hidden-layer')).toBeUndefined();
  });

  it('are not told from noise, nor under as much noise as hides them', async () => {
    const own = readTensors(join(FIXTURES, 'mlp', 'gradient.pt'));
    const noisy = join(scratch, 'noisy.safetensors');
    const noised = [...own].map(([key, { shape, data }]) => {
      const size = Math.hypot(...data) / Math.sqrt(data.length);
      return [
        key,
        {
          shape: [...shape],
          data: Float32Array.from(data, (value, at) => value + 0.01 * size * Math.sin(1e4 * (at + 1) ** 2)),
        },
      ];
    });
    writeSafetensors(noisy, Object.fromEntries(noised) as Parameters<typeof writeSafetensors>[1]);
    const report = await audit('mlp', { gradients: noisy });
    expect(leakOf(report, 'hidden-layer')).toBeUndefined();
  });

  it('lead to inputs and mixed labels of a fully connected network, certified by the gradient of all together', async () => {
    const out = join(scratch, 'mixup-inputs');
    const report = await audit('mixup', { out, ...withInputs() });
    const leak = leakOf(report, 'input')!;
    expect(leak).toMatchObject({ certificate: { by: 'gradient', verdict: 'exact' }, gives: { inputs: 10 } });
    expect(leak.certificate!.error).toBeLessThan(1e-5);
    expect(leakOf(report, 'hidden-layer')).toMatchObject({ noun: 'Features', gives: { inputs: 0 } });
    const images = Array.from({ length: 10 }, (_, at) => rowsOf(join(out, `batch-input-${at}.npy`))[0]!);
    const found = nearest(images, rowsOf(join(FIXTURES, 'mixup', 'image.npy')));
    expect(new Set(found.map(({ which }) => which)).size).toBe(10);
    const labels = rowsOf(join(FIXTURES, 'mixup', 'label.npy'));
    const table = leak.details.find((detail) => detail.type === 'table')!;
    table.rows.forEach(({ cells }, at) => {
      expect(found[at]!.error).toBeLessThan(1e-5);
      const label = labels[found[at]!.which]!;
      expect(Number(cells[1])).toBe(label.indexOf(Math.max(...label)));
      expect(Number(cells[2])).toBeCloseTo(Math.max(...label), 3);
    });
  });

  it('lead to the images below convolutions and max pooling', async () => {
    const out = join(scratch, 'fedavg-inputs');
    const report = await audit('fedavg', { out, ...withInputs([1, 12, 12]) });
    expect(leakOf(report, 'input')).toMatchObject({ certificate: { by: 'gradient', verdict: 'exact' } });
    const images = Array.from({ length: 5 }, (_, at) => rowsOf(join(out, `batch-input-${at}.npy`))[0]!);
    const found = nearest(images, rowsOf(join(FIXTURES, 'fedavg', 'image.npy')));
    expect(new Set(found.map(({ which }) => which)).size).toBe(5);
    expect(Math.max(...found.map(({ error }) => error))).toBeLessThan(1e-4);
  });

  it('can be stopped', async () => {
    let asked = 0;
    const stopping = {
      progress: ({ message }: { message: string }) => {
        asked += message.startsWith('Telling') ? 1 : 0;
      },
      pause: () => (asked > 3 ? Promise.reject(new CancelledError()) : Promise.resolve()),
    };
    const folder = join(FIXTURES, 'mlp');
    const { report } = await runAudit(
      { checkpoint: join(folder, 'checkpoint.pt'), gradients: join(folder, 'gradient.pt'), method: 'auto' },
      stopping,
    );
    expect(report.cancelled).toBe(true);
    expect(leakOf(report, 'hidden-layer')).toBeUndefined();
  });
});
