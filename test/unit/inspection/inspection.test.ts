import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openTensorFile } from '../../../src/formats/open.js';
import { fileKindOf } from '../../../src/kinds/file-kind.js';
import { Inspection } from '../../../src/inspection/inspection.js';
import type { FileKind, SliceRequest, TensorStatistics } from '../../../src/protocol/inspection.js';
import { CancelledError } from '../../../src/protocol/errors.js';

const HERE = join(import.meta.dirname, '..', '..', 'fixtures', 'inspection');
const expected = JSON.parse(readFileSync(join(HERE, 'expected.json'), 'utf8')) as {
  statistics: Record<string, TensorStatistics | null>;
  differences: Record<string, { most: number; relative: number; cosine: number }>;
  slice: number[][];
  histogram: number[];
  filter: number[];
};
const pause = (): Promise<void> => Promise.resolve();
const inspection = new Inspection(join(HERE, 'first.pt'));
const { names, shapes } = inspection.directory();
afterAll(() => {
  inspection.close();
});

function cells(base64: string): number[] {
  const bytes = Buffer.from(base64, 'base64');
  return [...new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))];
}

function slice(name: string, part: Partial<SliceRequest>): ReturnType<Inspection['slice']> {
  const row = names.indexOf(name);
  return inspection.slice(row, { rowAxis: 0, columnAxis: 1, at: shapes[row]!.map(() => 0), of: 'here', ...part });
}

describe('statistics', () => {
  it.each(Object.entries(expected.statistics))('%s: as PyTorch says', async (name, truth) => {
    const [own] = await inspection.statisticsOf([names.indexOf(name)], 1e9, pause);
    const { statistics } = own!;
    if (truth === null) {
      expect(statistics.problem).toMatch(/complex/);
      return;
    }
    expect(statistics.problem).toBeUndefined();
    for (const key of ['min', 'max', 'mean', 'std', 'norm', 'zeros', 'nans', 'infinities'] as const) {
      const [found, wanted] = [statistics[key], truth[key]];
      if (wanted === null || found === null) {
        expect(found, key).toBe(wanted);
      } else {
        expect(Math.abs(found - wanted), key).toBeLessThanOrEqual(1e-9 * Math.abs(wanted));
      }
    }
  });

  it('are not computed of a few bytes that are repeated without end', async () => {
    const repeated = new Inspection(join(HERE, '..', 'hostile-neighbours', 'expanded', '2^50', 'gradient.pt'));
    const { names: own, shapes: sizes } = repeated.directory();
    const row = own.findIndex((_, at) => sizes[at]!.some((size) => size > 2 ** 20));
    const [answer] = await repeated.statisticsOf([row], 0, pause);
    expect(answer?.statistics).toMatchObject({ min: null, problem: expect.stringContaining('which repeat') as string });
    repeated.close();
  });

  it('answers at least one row and stops at its budget', async () => {
    const fresh = new Inspection(join(HERE, 'second.pt'));
    expect(await fresh.statisticsOf([0, 1, 2], -1, pause)).toHaveLength(1);
    expect(await fresh.statisticsOf([0, 1, 2], 1e9, pause)).toHaveLength(3);
    fresh.close();
  });

  it('a row that does not exist is an error, not a number', async () => {
    await expect(inspection.statisticsOf([names.length], 1, pause)).resolves.toMatchObject([
      { statistics: { problem: expect.stringContaining('Row') as string, min: null } },
    ]);
  });
});

describe('slices', () => {
  it('any axes, the others held', () => {
    const own = slice('conv1.weight', { rowAxis: 0, columnAxis: 3, at: [0, 1, 2, 0] });
    expect([own.rows, own.columns]).toEqual([8, 5]);
    expect(cells(own.cells)).toEqual(expected.slice.flat());
    const turned = slice('conv1.weight', { rowAxis: 3, columnAxis: 0, at: [0, 1, 2, 0] });
    expect(cells(turned.cells)).toEqual(
      expected.slice[0]!.flatMap((_, column) => expected.slice.map((row) => row[column]!)),
    );
  });

  it('a window of it', () => {
    const own = slice('conv1.weight', {
      rowAxis: 0,
      columnAxis: 3,
      at: [0, 1, 2, 0],
      window: { top: 2, bottom: 4, left: 1, right: 4 },
    });
    expect(cells(own.cells)).toEqual(expected.slice.slice(2, 4).flatMap((row) => row.slice(1, 4)));
    expect(own.window).toEqual({ top: 2, bottom: 4, left: 1, right: 4 });
  });

  it('a vector and a scalar', () => {
    expect(slice('fc.bias', { rowAxis: -1, columnAxis: 0 })).toMatchObject({ rows: 1, columns: 10 });
    expect(cells(slice('odd.scalar', { rowAxis: -1, columnAxis: -1 }).cells)).toEqual([2.5]);
  });

  it('a strided tensor as Python sees it', () => {
    expect(cells(slice('odd.transposed', {}).cells)).toEqual([0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
  });

  it('cells are means of what they cover', () => {
    const own = slice('odd.offset', { rowAxis: -1, columnAxis: 0 });
    expect(own.cellColumns).toBeLessThan(own.columns);
    const means = cells(own.cells);
    const mean = means.reduce((sum, value) => sum + value, 0) / means.length;
    expect(mean).toBeCloseTo(expected.statistics['odd.offset']!.mean!, 0);
  });

  it('refuses axes and indices that are not there', () => {
    expect(() => slice('fc.weight', { rowAxis: 0, columnAxis: 2 })).toThrow(RangeError);
    expect(() => slice('fc.weight', { rowAxis: 1, columnAxis: 1 })).toThrow(RangeError);
    expect(() => slice('conv1.weight', { rowAxis: 2, columnAxis: 3, at: [8, 0, 0, 0] })).toThrow(RangeError);
  });
});

describe('histogram, values, filters', () => {
  it('the histogram is that of torch.histc', async () => {
    const { counts } = await inspection.histogram(names.indexOf('block.0.weight'), pause);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(8 * 12 * 9);
    // The edges of bins round differently.
    expect(counts.filter((count, at) => Math.abs(count - expected.histogram[at]!) > 1)).toEqual([]);
  });

  it('values read back as the same numbers', () => {
    const { values, total } = inspection.text(names.indexOf('conv1.weight'), 3 * 75);
    expect(total).toBe(600);
    expect(values.slice(0, 75).map(Number)).toEqual(expected.filter);
  });

  it('filters in colour where there are three inputs, one channel otherwise', () => {
    const colour = inspection.filters(names.indexOf('conv1.weight'), 0);
    expect(colour).toMatchObject({ count: 8, height: 5, width: 5, channels: 3 });
    const bytes = Buffer.from(colour.values, 'base64');
    expect(bytes.readFloatLE(4 * 3 * 75)).toBe(Math.fround(expected.filter[0]!));
    expect(inspection.filters(names.indexOf('block.0.weight'), 7)).toMatchObject({ channels: 1, inputs: 8, count: 12 });
    expect(() => inspection.filters(names.indexOf('fc.weight'), 0)).toThrow(RangeError);
    expect(() => inspection.filters(names.indexOf('block.0.weight'), 8)).toThrow(RangeError);
  });
});

describe('differences', () => {
  const compared = new Inspection(join(HERE, 'first.pt'));
  afterAll(() => {
    compared.close();
  });

  it('are those of PyTorch', async () => {
    const summary = compared.compare(join(HERE, 'second.pt'));
    expect(summary).toMatchObject({ how: 'names', matched: 10, onlyThere: [] });
    const rows = await compared.differencesOf([...names.keys()], 1e9, pause);
    for (const { row, difference } of rows) {
      const truth = expected.differences[names[row]!];
      if (!truth) {
        expect(difference.status).toBe('only-here');
      } else if (names[row] === 'fc.bias') {
        expect(difference).toEqual({ status: 'equal', most: 0, relative: 0, cosine: 1 });
      } else {
        expect(difference.status).toBe('changed');
        expect(difference.most).toBeCloseTo(truth.most, 12);
        expect(difference.relative).toBeCloseTo(truth.relative, 9);
        expect(difference.cosine).toBeCloseTo(truth.cosine, 9);
      }
    }
  });

  it('can be looked at', () => {
    const row = names.indexOf('conv1.weight');
    const request: SliceRequest = { rowAxis: 0, columnAxis: 3, at: [0, 1, 2, 0], of: 'difference' };
    const [here, there, difference] = (['here', 'there', 'difference'] as const).map((of) =>
      cells(compared.slice(row, { ...request, of }).cells),
    );
    expect(difference).toEqual(there!.map((value, at) => value - here![at]!));
    expect(() => compared.slice(names.indexOf('odd.scalar'), { ...request, rowAxis: -1, columnAxis: -1 })).toThrow(
      /no tensor/,
    );
  });

  it('end when asked', async () => {
    compared.compareNothing();
    expect(await compared.differencesOf([0], 1, pause)).toMatchObject([{ difference: { status: 'only-here' } }]);
  });
});

describe('what a file is', () => {
  const fixtures = join(HERE, '..');
  it.each<[string, FileKind]>([
    ['inspection/second.pt', 'gradient'],
    ['inspection/checkpoint.pt', 'checkpoint'],
    ['inspection/optimiser.pt', 'optimiser-state'],
    ['inspection/round3.pt', 'delta'],
    ['dumps/k100_mixup_smooth_nobias_trained/gradient.pt', 'gradient'],
    ['dumps/k100_mixup_smooth_nobias_trained/checkpoint.pt', 'checkpoint'],
    ['dumps/in_keras/checkpoint.npz', 'checkpoint'],
    ['networks/norm-train/gradient.pt', 'gradient'],
    ['networks/norm-train/checkpoint.pt', 'checkpoint'],
    ['formats/half.safetensors', 'unknown'],
    ['formats/plain.npz', 'unknown'],
  ])('%s: %s', (path, kind) => {
    const file = openTensorFile(join(fixtures, path));
    const report = fileKindOf(file, true);
    file.close();
    expect(report.kind, report.reasons.join('\n')).toBe(kind);
    expect(report.reasons.length).toBeGreaterThan(0);
  });
});

it.each(['statistics', 'rows'] as const)('%s stop between pieces when asked', async (what) => {
  let breaths = 0;
  const file = new Inspection(join(HERE, 'first.pt'));
  const realNow = performance.now.bind(performance);
  // Every look at the clock is a second later, so every piece is followed by a breath.
  let clock = realNow();
  performance.now = () => (clock += 1000);
  try {
    const row = names.indexOf('fc.weight');
    const stop = (): Promise<void> => {
      breaths++;
      return Promise.reject(new CancelledError());
    };
    const asked: Promise<unknown> = what === 'rows' ? file.rows(row, stop) : file.statisticsOf([row], 1e9, stop);
    await expect(asked).rejects.toThrow(CancelledError);
  } finally {
    performance.now = realNow;
    file.close();
  }
  expect(breaths).toBe(1);
});
