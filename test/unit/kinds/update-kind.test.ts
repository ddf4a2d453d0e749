import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { matchTensors } from '../../../src/facts/matching.js';
import { runAudit } from '../../../src/audit/run-audit.js';
import { openTensorFile } from '../../../src/formats/open.js';
import { canBe, fileKindOf } from '../../../src/kinds/file-kind.js';
import { settleKind } from '../../../src/kinds/update-kind.js';
import { UnusableInputError } from '../../../src/protocol/errors.js';
import type { SignToldBy, UpdateKind, UpdateReport } from '../../../src/protocol/report.js';
import { writeSafetensors } from '../../write-fixtures.js';

/** Updates that PyTorch wrote (test/fixtures/make_kind_fixtures.py). */

const KINDS = join(import.meta.dirname, '..', '..', 'fixtures', 'kinds');
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-kinds-'));
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

const hooks = { progress: () => undefined, pause: () => Promise.resolve() };

function settle(checkpoint: string, gradients: string): UpdateReport {
  const files = [openTensorFile(checkpoint), openTensorFile(gradients)] as const;
  try {
    return settleKind(...files, matchTensors(...files).pairs);
  } finally {
    files.forEach((file) => file.close());
  }
}

const settleFixture = (name: string): UpdateReport =>
  settle(join(KINDS, name.split('/')[0]!, 'checkpoint.pt'), join(KINDS, `${name}.pt`));

async function refusal(checkpoint: string, gradients: string): Promise<UnusableInputError> {
  const error: unknown = await runAudit({ checkpoint, gradients, method: 'auto' }, hooks).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UnusableInputError);
  return error as UnusableInputError;
}

describe('the kind of an update', () => {
  it.each<[string, UpdateKind]>([
    ['lenet/gradient', 'gradient'],
    ['convnet/gradient', 'gradient'],
    ['dense/gradient', 'gradient'],
    ['zero-head/gradient', 'gradient'],
    ['lenet/bfloat16', 'gradient'],
    ['lenet/noise-0.001', 'gradient'],
    ['lenet/noise-0.1', 'gradient'],
    ['lenet/random', 'unknown'],
    ['zero-head/noise-3', 'unknown'],
    ['convnet/quantised', 'quantised'],
    ['convnet/pruned', 'pruned'],
    ['convnet/sign', 'sign'],
    ['lenet/adam', 'adam-step'],
    ['lenet/adamw', 'adam-step'],
    ['convnet/four-steps', 'several-steps'],
    // Nothing counts the steps here: whether one explains it, the recovery tells.
    ['dense/four-steps', 'difference'],
  ])('%s: %s', (name, kind) => {
    const update = settleFixture(name);
    expect(update.kind, update.reasons.join('\n')).toBe(kind);
    expect(update.reasons.length).toBeGreaterThan(0);
  });

  it('tells noise by the content alone, whatever the file is called', () => {
    cpSync(join(KINDS, 'lenet', 'random.pt'), join(scratch, 'gradient.pt'));
    const update = settle(join(KINDS, 'lenet', 'checkpoint.pt'), join(scratch, 'gradient.pt'));
    expect(update.kind).toBe('unknown');
    expect(update.reasons.join(' ')).toContain('Only the file\'s name, "gradient.pt"');
  });

  it('sees the unused tokens of an embedding, however many layers follow it', () => {
    const llama = join(KINDS, '..', 'texts', 'llama');
    const update = settle(join(llama, 'checkpoint.safetensors'), join(llama, 'gradient.safetensors'));
    expect(update.reasons.join(' ')).toContain('"model.embed_tokens.weight" is zero in whole rows');
  });

  it('says how strong the weight decay of an AdamW step was', () => {
    // make_kind_fixtures.py: weight_decay=0.5
    expect(settleFixture('lenet/adamw').reasons.join(' ')).toMatch(/weight decay of about 0\.(49|50)/);
  });
});

describe('a difference of weights', () => {
  it.each<[string, 1 | -1, SignToldBy | null]>([
    ['lenet/sgd-0.1-after-minus-before', -1, 'rounding'],
    ['lenet/sgd-0.01-before-minus-after', 1, 'rounding'],
    ['convnet/sgd-0.1-before-minus-after', 1, 'rounding'],
    ['convnet/sgd-0.1-state', -1, 'rounding'],
    ['dense/sgd-0.01-after-minus-before', -1, 'rounding'],
    ['dense/momentum', -1, 'rounding'],
  ])('%s: sign %i by %s', (name, sign, toldBy) => {
    expect(settleFixture(name)).toMatchObject({ kind: 'difference', sign, signToldBy: toldBy });
  });

  it('has the rounding error of stored weights', () => {
    // Head weights spread evenly over +-0.5: mostly ulp 2^-25 or 2^-26, so 2^-25 / sqrt(12) = 8.6e-9 at most.
    const { absoluteError } = settleFixture('lenet/sgd-0.1-after-minus-before');
    expect(absoluteError).toBeGreaterThan(2 ** -27 / Math.sqrt(12));
    expect(absoluteError).toBeLessThan(2 ** -25 / Math.sqrt(12));
    expect(settleFixture('lenet/gradient').absoluteError).toBeNull();
  });

  it.each<[string, number[], 1 | -1, SignToldBy | null]>([
    ['labels where every weight keeps its exponent', [-9, 1, 1, 1, 1, 1, 1, 1, 1, 1], 1, 'labels'],
    ['labels in the other order', [9, -1, -1, -1, -1, -1, -1, -1, -1, -1], -1, 'labels'],
    ['nothing where both signs look alike', [-3, 3, -1, 1, -5, 5, -1, 1, -3, 3], -1, null],
  ])('is told the sign by %s', (_, steps, sign, toldBy) => {
    // float64, as the writer of fixtures stores it.
    const ulp = 2 ** -53;
    const weight = { shape: [10, 16], data: Float64Array.from({ length: 160 }, (__, i) => 0.75 + 8 * i * ulp) };
    const change = {
      shape: [10, 16],
      data: Float64Array.from({ length: 160 }, (__, i) => steps[Math.floor(i / 16)]! * ulp),
    };
    const files = [join(scratch, 'grid-c.safetensors'), join(scratch, 'grid-g.safetensors')] as const;
    writeSafetensors(files[0], { 'fc.weight': weight });
    writeSafetensors(files[1], { 'fc.weight': change });
    const update = settle(...files);
    expect(update).toMatchObject({ kind: 'difference', sign, signToldBy: toldBy });
    if (toldBy === null) {
      expect(update.reasons.join(' ')).toContain('The sign is not known');
    }
  });
});

describe('what is refused', () => {
  it.each(['lenet/gradient', 'convnet/gradient', 'dense/gradient', 'lenet/bfloat16', 'convnet/sgd-0.1-state'])(
    '%s, swapped with the checkpoint, under names that say nothing',
    async (name) => {
      const folder = mkdtempSync(join(scratch, 'swap-'));
      cpSync(join(KINDS, name.split('/')[0]!, 'checkpoint.pt'), join(folder, 'b.pt'));
      cpSync(join(KINDS, `${name}.pt`), join(folder, 'a.pt'));
      const error = await refusal(join(folder, 'a.pt'), join(folder, 'b.pt'));
      expect(error.code).toBe('swapped-files');
      expect(error.parts.advice).toContain('The two files look swapped: exchange them.');
    },
  );

  it('does not take a head that began at zero for a gradient, even beside a noisy one', () => {
    expect(settleFixture('zero-head/noise-3').kind).toBe('unknown');
  });

  it.each(['lenet/optimiser'])('%s is not a gradient', async (name) => {
    const error = await refusal(join(KINDS, name.split('/')[0]!, 'checkpoint.pt'), join(KINDS, `${name}.pt`));
    expect(error.code).toBe('not-a-gradient');
    expect(error.parts.found).toMatch(/optimiser/);
    expect(error.parts.advice).toContain('difference');
  });
});

describe('an audit', () => {
  it.each<[string, UpdateKind]>([
    ['lenet/adam', 'adam-step'],
    ['convnet/sign', 'sign'],
    ['convnet/four-steps', 'several-steps'],
  ])('of %s assesses nothing and says why', async (name, kind) => {
    const { report } = await runAudit(
      {
        checkpoint: join(KINDS, name.split('/')[0]!, 'checkpoint.pt'),
        gradients: join(KINDS, `${name}.pt`),
        method: 'auto',
      },
      hooks,
    );
    expect(report.verdict.outcome).toBe('not-assessed');
    expect(report.verdict.sentence).toMatch(/^(Nothing was assessed|Samples were not read from the head)/);
    expect(report.update?.kind).toBe(kind);
    expect(report).toMatchObject({ samples: [], labelCounts: null, findings: [], batch: { size: null } });
    expect(report.consistency.map(({ id }) => id)).toEqual(['file-safety', 'names-and-shapes']);
  });

  it('says in its report what the file is', async () => {
    const folder = join(KINDS, 'lenet');
    const { report } = await runAudit(
      { checkpoint: join(folder, 'checkpoint.pt'), gradients: join(folder, 'gradient.pt'), method: 'auto' },
      hooks,
    );
    expect(report.update).toMatchObject({ kind: 'gradient', sign: 1, absoluteError: null });
  });
});

describe('what a picker offers', () => {
  const kindOf = (path: string): ReturnType<typeof fileKindOf> => {
    const file = openTensorFile(join(KINDS, path));
    try {
      return fileKindOf(file, true);
    } finally {
      file.close();
    }
  };

  it.each([
    ['lenet/gradient.pt', true, false],
    ['convnet/checkpoint.pt', false, true],
    ['lenet/optimiser.pt', false, false],
    ['convnet/four-steps.pt', true, false],
    ['lenet/random.pt', true, true],
    // Sums to zero like a gradient, but has full rank.
    ['zero-head/checkpoint.pt', true, true],
  ])('%s: as a gradient %s, as a checkpoint %s', (path, gradient, checkpoint) => {
    const kind = kindOf(path);
    expect([canBe(kind, 'gradient'), canBe(kind, 'checkpoint')], JSON.stringify(kind)).toEqual([gradient, checkpoint]);
  });
});
