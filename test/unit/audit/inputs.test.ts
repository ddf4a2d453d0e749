import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { UnusableInputError, type UnusableInputCode } from '../../../src/protocol/errors.js';
import type { AuditRequest } from '../../../src/protocol/audit-request.js';
import type { Report } from '../../../src/protocol/report.js';
import { runAudit } from '../../../src/audit/run-audit.js';
import { generator } from '../../../src/recovery/paper-method.js';
import { type FixtureTensor, writeSafetensors } from '../../write-fixtures.js';
import { gaussian, syntheticSample } from '../../synthetic-head.js';

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures');
const folder = mkdtempSync(join(tmpdir(), 'gradleak-inputs-'));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const hooks = { progress: () => undefined, pause: () => Promise.resolve() };
const random = generator(11);

function tensor(shape: number[], data?: Float64Array): FixtureTensor {
  const count = shape.reduce((a, b) => a * b, 1);
  return { shape, data: data ?? Float64Array.from({ length: count }, () => random() - 0.5) };
}

interface Made {
  weights: Record<string, FixtureTensor>;
  gradients: Record<string, FixtureTensor>;
}

/** A two-layer net whose head `fc` has the gradient of one smoothed sample. */
function makeNet(classes = 10, features = 24, bias = true): Made {
  const { head } = syntheticSample({ classes, features, kind: 'smoothed', bias, random, spread: 4 });
  const weights: Made['weights'] = {
    'body.weight': tensor([features, 12]),
    'fc.weight': tensor([classes, features], head.weight.data),
  };
  const gradients: Made['gradients'] = {
    'body.weight': tensor([features, 12]),
    'fc.weight': tensor([classes, features], head.weightGradient.data),
  };
  if (head.bias && head.biasGradient) {
    weights['fc.bias'] = tensor([classes], head.bias);
    gradients['fc.bias'] = tensor([classes], head.biasGradient);
  }
  return { weights, gradients };
}

async function audit({ weights, gradients }: Made, more: Partial<AuditRequest> = {}): Promise<Report> {
  const paths = { checkpoint: join(folder, 'c.safetensors'), gradients: join(folder, 'g.safetensors') };
  writeSafetensors(paths.checkpoint, weights);
  writeSafetensors(paths.gradients, gradients);
  const { report } = await runAudit({ ...paths, method: 'auto', ...more }, hooks);
  return report;
}

async function expectCode(run: Promise<unknown>, code: UnusableInputCode): Promise<UnusableInputError> {
  const error: unknown = await run.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UnusableInputError);
  expect((error as UnusableInputError).code).toBe(code);
  return error as UnusableInputError;
}

describe('bad inputs are refused with a reason', () => {
  it('shapes that do not fit', async () => {
    const net = makeNet();
    const error = await expectCode(audit({ ...net, gradients: makeNet(12).gradients }), 'shape-mismatch');
    expect(error.message).toContain('[12, 24]');
    expect(error.message).toContain('[10, 24]');
  });

  it('no head', async () => {
    const weights = { 'conv.weight': tensor([4, 3, 3, 3]), 'bn.weight': tensor([4]) };
    const { verdict, samples, head } = await audit({ weights, gradients: weights });
    expect({ outcome: verdict.outcome, samples, head }).toEqual({ outcome: 'not-assessed', samples: [], head: null });
  });

  it('several heads', async () => {
    const net = makeNet();
    const second = makeNet();
    const rename = (tensors: Made['weights'], from: Made['weights']): Made['weights'] => ({
      ...tensors,
      'fc2.weight': from['fc.weight']!,
    });
    const both = { weights: rename(net.weights, second.weights), gradients: rename(net.gradients, second.gradients) };
    const error = await expectCode(audit(both), 'several-heads');
    expect(error.message).toContain('fc2.weight');
    expect((await audit(both, { head: 'fc' })).head?.weight).toBe('fc.weight');
    await expectCode(audit(both, { head: 'nothing' }), 'no-head');
  });

  it.each([NaN, Infinity])('%f in the head', async (value) => {
    const net = makeNet();
    net.gradients['fc.weight']!.data[3] = value;
    await expectCode(audit(net), 'not-finite');
  });

  it('NaN elsewhere is a failed check, and the audit goes on', async () => {
    const net = makeNet();
    net.gradients['body.weight']!.data[0] = NaN;
    const report = await audit(net);
    expect(report.consistency.find(({ id }) => id === 'finite')?.status).toBe('fail');
    expect(report.samples[0]?.status).toBe('recovered');
  });

  it('all zero', async () => {
    const net = makeNet();
    net.gradients['fc.weight']!.data.fill(0);
    await expectCode(audit(net), 'all-zero');
  });

  it('a single class', async () => {
    const weights = { 'body.weight': tensor([24, 12]), 'fc.weight': tensor([1, 24]) };
    await expectCode(
      audit({ weights, gradients: { 'body.weight': tensor([24, 12]), 'fc.weight': tensor([1, 24]) } }),
      'single-class',
    );
  });

  it('the same file twice, also as a copy', async () => {
    const path = join(FIXTURES, 'formats', 'state_dict.pt');
    const copy = join(folder, 'copy.pt');
    copyFileSync(path, copy);
    await expectCode(runAudit({ checkpoint: path, gradients: path, method: 'auto' }, hooks), 'same-file');
    await expectCode(runAudit({ checkpoint: path, gradients: copy, method: 'auto' }, hooks), 'same-file');
  });

  it('nothing in common', async () => {
    const net = makeNet();
    await expectCode(audit({ ...net, gradients: { 'x.y.weight': tensor([3, 5]) } }), 'no-match');
  });

  it('somebody else’s report is not replaced without asking', async () => {
    const out = join(folder, 'taken');
    const net = makeNet();
    await audit(net, { out });
    await audit(net, { out });
    writeFileSync(join(out, 'report.json'), '{"mine": true}');
    await expectCode(audit(net, { out }), 'would-overwrite');
    await audit(net, { out, force: true });
  });
});

describe('a gradient under differential privacy', () => {
  it('is told as noise: no label, no counts, and not as a pair of files that do not fit', async () => {
    const net = makeNet();
    const { shape } = net.gradients['fc.weight']!;
    net.gradients['fc.weight'] = tensor(
      shape as number[],
      Float64Array.from({ length: 240 }, () => 50 * gaussian(random)),
    );
    net.gradients['fc.bias'] = tensor(
      [10],
      Float64Array.from({ length: 10 }, () => 50 * gaussian(random)),
    );
    const report = await audit(net);
    expect(report.labelCounts).toBeNull();
    expect(report.samples).toEqual([]);
    // Numbers like these could be anything, so nothing is reassured either.
    expect(report.verdict.outcome).toBe('not-assessed');
    expect(report.verdict.sentence).toMatch(/cannot be told from noise of standard deviation/);
    expect(report.findings).toEqual([]);
    expect(report.batch.size).toBeNull();
  });
});

describe('matching', () => {
  it('sees through prefixes on either side', async () => {
    const net = makeNet();
    const wrap = (prefix: string, tensors: Made['weights']): Made['weights'] =>
      Object.fromEntries(Object.entries(tensors).map(([name, value]) => [prefix + name, value]));
    const report = await audit({
      weights: wrap('state_dict.model.', net.weights),
      gradients: wrap('module.', net.gradients),
    });
    expect(report.head?.weight).toBe('state_dict.model.fc.weight');
    expect(report.samples[0]?.status).toBe('recovered');
  });

  it('warns of a second copy of the weights', async () => {
    const net = makeNet();
    const copies = Object.fromEntries(
      Object.entries(net.weights).flatMap(([name, value]) => [
        [`model.${name}`, value],
        [`ema.${name}`, value],
      ]),
    );
    const report = await audit({ weights: copies, gradients: net.gradients });
    expect(report.consistency.find(({ id }) => id === 'names-and-shapes')?.detail).toContain('ema');
  });

  it('frozen layers may be missing', async () => {
    const net = makeNet();
    const { 'fc.weight': weight, 'fc.bias': bias } = net.gradients;
    const report = await audit({ ...net, gradients: { 'fc.weight': weight!, 'fc.bias': bias! } });
    expect(report.samples[0]?.status).toBe('recovered');
  });

  it('a bias without its gradient falls back to the scan', async () => {
    const net = makeNet();
    const { 'fc.weight': weight, 'body.weight': body } = net.gradients;
    const report = await audit({ ...net, gradients: { 'body.weight': body!, 'fc.weight': weight! } });
    expect(report.head).toMatchObject({ bias: 'fc.bias', biasGradient: false });
    expect(report.samples[0]).toMatchObject({ method: 'scalar-scan', status: 'recovered' });
  });

  it('a bias gradient of another sample is noticed and not used', async () => {
    const net = makeNet();
    net.gradients['fc.bias'] = makeNet().gradients['fc.bias']!;
    const report = await audit(net);
    expect(report.consistency.find(({ id }) => id === 'bias-agrees')?.status).toBe('warn');
    expect(report.samples[0]).toMatchObject({ method: 'scalar-scan', status: 'recovered' });
  });
});

describe('hostile checkpoints', () => {
  it('are audited as far as they can be read, with a critical finding', async () => {
    const paths = { checkpoint: join(FIXTURES, 'hostile', 'os_system.pt'), gradients: join(folder, 'g3.safetensors') };
    const { head } = syntheticSample({ classes: 3, features: 4, kind: 'hard', bias: false, random });
    writeSafetensors(paths.gradients, { 'fc.weight': tensor([3, 4], head.weightGradient.data) });
    const { report } = await runAudit({ ...paths, method: 'auto' }, hooks);
    expect(report.findings[0]).toMatchObject({ id: 'pickle-runs-code', severity: 'critical' });
    expect(report.findings[0]?.evidence).toContain('posix.system');
    expect(report.consistency[0]).toMatchObject({ id: 'file-safety', status: 'fail' });
  });
});
