import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { minimise } from '../../../src/audit/minimise.js';
import { runAudit } from '../../../src/audit/run-audit.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import { openTensorFile } from '../../../src/formats/open.js';
import { encodeSafetensors } from '../../../src/formats/write-safetensors.js';
import { CancelledError } from '../../../src/protocol/errors.js';

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures');
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-minimise-test-'));
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

function read(path: string): Map<string, Float64Array> {
  const file = openTensorFile(path);
  try {
    return new Map(file.entries.map(({ name }) => [name, file.read(name).data]));
  } finally {
    file.close();
  }
}

describe('a minimised dump', () => {
  it('is audited like the user’s own and holds other numbers', async () => {
    const own = pathsInFolder(join(FIXTURES, 'networks', 'lenet'));
    const out = join(scratch, 'lenet');
    const { tensors, outcome } = await minimise({ ...own, out }, hooks);
    expect(new Set(Object.values(tensors))).toEqual(new Set(['random', 'shuffled and mirrored']));
    const small = pathsInFolder(out);
    for (const [before, after] of [
      [own.checkpoint, small.checkpoint],
      [own.gradients, small.gradients],
    ] as const) {
      const [old, now] = [read(before), read(after)];
      expect([...now.keys()]).toEqual([...old.keys()]);
      for (const [name, values] of old) {
        const same = now.get(name)!.filter((value, at) => value !== 0 && value === values[at]).length;
        // A class that stays in its place keeps its bias; of ten, five or more stay in one of three hundred shuffles.
        expect(same, name).toBeLessThanOrEqual(values.length <= 10 ? 8 : 0.02 * values.length);
      }
    }
    const [one, other] = [
      (await runAudit({ ...own, method: 'auto' }, hooks)).report,
      (await runAudit({ ...small, method: 'auto' }, hooks)).report,
    ];
    expect(other.verdict.outcome).toBe(one.verdict.outcome);
    expect(other.findings.map(({ id }) => id)).toEqual(one.findings.map(({ id }) => id));
    expect(other.samples[0]!.label.kind).toBe(one.samples[0]!.label.kind);
    expect(other.samples[0]!.featureStatistics.norm).toBeCloseTo(one.samples[0]!.featureStatistics.norm, 3);
    expect(JSON.parse(readFileSync(join(out, 'minimised.json'), 'utf8'))).toMatchObject({ outcome, tensors });
    await expect(minimise({ ...own, out }, hooks)).rejects.toMatchObject({ code: 'would-overwrite' });
  });

  it('keeps what decides the outcome: the rows that an embedding has a gradient in, in other places', async () => {
    const out = join(scratch, 'language');
    const own = pathsInFolder(join(FIXTURES, 'leaks', 'language'));
    await minimise({ ...own, out }, hooks);
    const touched = (values: Float64Array, rows: number): number[] =>
      Array.from({ length: rows }, (_, row) => row).filter((row) =>
        values.subarray((row * values.length) / rows, ((row + 1) * values.length) / rows).some((value) => value !== 0),
      );
    const [old, now] = [own.gradients, pathsInFolder(out).gradients].map((path) =>
      touched(read(path).get('tokens.weight')!, 300),
    );
    expect(now).toHaveLength(old!.length);
    expect(now).not.toEqual(old);
  });

  it('keeps an error, too', async () => {
    const out = join(scratch, 'mismatched');
    const { outcome } = await minimise(
      {
        checkpoint: join(FIXTURES, 'kinds', 'lenet', 'gradient.pt'),
        gradients: join(FIXTURES, 'kinds', 'lenet', 'checkpoint.pt'),
        out,
      },
      hooks,
    );
    expect(outcome).toEqual({ error: 'swapped-files' });
    await expect(runAudit({ ...pathsInFolder(out), method: 'auto' }, hooks)).rejects.toMatchObject({
      code: 'swapped-files',
    });
  });

  it('writes nothing when it is stopped', async () => {
    const out = join(scratch, 'stopped');
    let pauses = 0;
    const stopping = {
      progress: () => undefined,
      pause: () => (++pauses > 12 ? Promise.reject(new CancelledError()) : Promise.resolve()),
    };
    const own = pathsInFolder(join(FIXTURES, 'networks', 'lenet'));
    await expect(minimise({ ...own, out }, stopping)).rejects.toBeInstanceOf(CancelledError);
    expect(existsSync(out)).toBe(false);
  });
});

describe('safetensors as we write them', () => {
  it.each([
    ['float16', [0, 1, -1.5, 65504, 6.103515625e-5, 5.9604644775390625e-8, 0.333251953125]],
    ['bfloat16', [0, 1, -3.140625, 2 ** -120, 3.3895313892515355e38]],
    ['float32', [0.10000000149011612, -7]],
    ['float64', [0.1, -1e300]],
    ['int64', [0, -5, 2 ** 40]],
  ] as const)('keep every number of %s', (dtype, values) => {
    const path = join(scratch, `${dtype}.safetensors`);
    const tensor = { name: 'x', shape: [values.length], dtype, data: Float64Array.from(values) };
    rmSync(path, { force: true });
    writeFileSync(path, encodeSafetensors([tensor]));
    const file = openTensorFile(path);
    expect(file.entries[0]).toMatchObject({ name: 'x', dtype, shape: [values.length] });
    const { data } = file.read('x');
    expect([...data]).toEqual(values);
    file.close();
  });
});
