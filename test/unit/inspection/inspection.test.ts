import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openTensorFile } from '../../../src/formats/open.js';
import { lookAtFile } from '../../../src/audit/look-at-file.js';
import { elementCount } from '../../../src/formats/tensor-file.js';
import { encodeNpyArray } from '../../../src/formats/write-npy.js';
import { canBe, fileKindOf } from '../../../src/kinds/file-kind.js';
import { Inspection } from '../../../src/inspection/inspection.js';
import {
  type FileFindings,
  type FileKind,
  type SliceRequest,
  type TensorStatistics,
  pictureAxes,
} from '../../../src/protocol/inspection.js';
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

describe('pictures', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gradleak-pictures-'));
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  function saved(shape: number[], values: (at: number) => number): Inspection {
    const data = Float32Array.from({ length: elementCount(shape) }, (_, at) => values(at));
    const path = join(folder, `${shape.join('x')}.npy`);
    writeFileSync(path, encodeNpyArray(data, shape));
    return new Inspection(path);
  }

  function floats(base64: string): number[] {
    const bytes = Buffer.from(base64, 'base64');
    return [...new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))];
  }

  it.each([
    [[20, 3, 32, 32], { channelAxis: 1, rowAxis: 2, columnAxis: 3, alongAxis: 0 }],
    [[20, 32, 24, 3], { channelAxis: 3, rowAxis: 1, columnAxis: 2, alongAxis: 0 }],
    [[20, 1, 28, 28], { channelAxis: -1, rowAxis: 2, columnAxis: 3, alongAxis: 0 }],
    [[3, 224, 224], { channelAxis: 0, rowAxis: 1, columnAxis: 2, alongAxis: -1 }],
    [[20, 28, 28], { channelAxis: -1, rowAxis: 1, columnAxis: 2, alongAxis: 0 }],
    [[4, 20, 3, 32, 32], { channelAxis: 2, rowAxis: 3, columnAxis: 4, alongAxis: 0 }],
  ])('%j by its axes', (shape, axes) => {
    expect(pictureAxes(shape)).toMatchObject(axes);
  });

  it.each([[[10, 32]], [[8, 3, 5, 5]], [[64, 4096, 14336]], [[7]], [[]]])('%j is none', (shape) => {
    expect(pictureAxes(shape)).toBeUndefined();
  });

  it('channels first and last are the same pictures', () => {
    const value = (n: number, c: number, h: number, w: number): number => (n * 3 + c) * 1000 + h * 10 + w;
    const first = saved([2, 3, 8, 9], (at) =>
      value(Math.floor(at / 216), Math.floor(at / 72) % 3, Math.floor(at / 9) % 8, at % 9),
    );
    const last = saved([2, 8, 9, 3], (at) =>
      value(Math.floor(at / 216), at % 3, Math.floor(at / 27) % 8, Math.floor(at / 3) % 9),
    );
    const [one, other] = [first, last].map((own) => own.pictures(0, pictureAxes(own.directory().shapes[0]!)!));
    expect(one).toMatchObject({ count: 2, first: 0, height: 8, width: 9, channels: 3, every: 1 });
    expect(other).toEqual(one);
    expect(floats(one!.values).slice(216 + 72, 216 + 75)).toEqual([4000, 4001, 4002]);
    expect(one).toMatchObject({ low: 0, high: 5078 });
    first.close();
    last.close();
  });

  it('large ones are averaged down, what is not finite left out, and the range is that of images', () => {
    const own = saved([1, 512, 300], (at) => (at === 0 ? NaN : (at % 300) / 300));
    const { height, width, every, values, low, high, count } = own.pictures(0, pictureAxes([1, 512, 300])!);
    expect({ height, width, every, low, high, count }).toEqual({
      height: 256,
      width: 150,
      every: 2,
      low: 0,
      high: 1,
      count: 1,
    });
    const [corner, next] = floats(values);
    expect(corner).toBeCloseTo((1 + 0 + 1) / 3 / 300, 6);
    expect(next).toBeCloseTo(2.5 / 300, 6);
    own.close();
  });

  it('some at a time, from any on, and refused where they are not there', () => {
    const own = saved([100, 8, 8], (at) => Math.floor(at / 64));
    const request = pictureAxes([100, 8, 8])!;
    const whole = own.pictures(0, request);
    expect(floats(whole.values)).toHaveLength(64 * 64);
    const rest = own.pictures(0, { ...request, first: 90 });
    expect(floats(rest.values).filter((_, at) => at % 64 === 0)).toEqual([90, 91, 92, 93, 94, 95, 96, 97, 98, 99]);
    const across = own.pictures(0, { ...request, rowAxis: 0, alongAxis: 1 });
    expect(across).toMatchObject({ count: 8, height: 100, width: 8 });
    for (const wrong of [
      { first: 100 },
      { rowAxis: 2 },
      { channelAxis: 0, alongAxis: -1 },
      { alongAxis: -1, at: [100, 0, 0] },
    ]) {
      expect(() => own.pictures(0, { ...request, ...wrong })).toThrow(RangeError);
    }
    own.close();
  });
});

describe('what methods tell of a file by itself', () => {
  const told = (path: string): FileFindings => {
    const file = openTensorFile(join(HERE, '..', path));
    const kind = fileKindOf(file, true);
    const found = lookAtFile(file, (what) => canBe(kind, what));
    file.close();
    return found;
  };

  it('a trap in a checkpoint', () => {
    const { findings, problems } = told('leaks/imprint/checkpoint.pt');
    expect(problems).toEqual([]);
    expect(findings).toMatchObject([{ id: 'imprint-trap', severity: 'critical' }]);
    const file = openTensorFile(join(HERE, '..', 'leaks', 'imprint', 'checkpoint.pt'));
    expect(findings[0]?.evidence).toContain(`"${file.entries[findings[0]!.row]!.name}"`);
    file.close();
  });

  it('rows of an embedding in a gradient', () => {
    const { findings } = told('leaks/language/gradient.pt');
    expect(findings).toMatchObject([
      { id: 'embedding-positions', evidence: expect.stringContaining('are not zero') as string },
    ]);
  });

  it('nothing of a plain gradient, nor of the state of an optimiser', () => {
    expect(told('inspection/first.pt')).toEqual({ findings: [], problems: [] });
    expect(told('inspection/optimiser.pt')).toEqual({ findings: [], problems: [] });
  });

  it('says what it could not look for', () => {
    const file = openTensorFile(join(HERE, '..', 'leaks', 'language', 'gradient.pt'));
    const broken = {
      ...file,
      read: () => {
        throw new Error('gone');
      },
    };
    expect(lookAtFile(broken, (what) => what === 'gradient')).toEqual({
      findings: [],
      problems: ['Tokens and items from embeddings: gone'],
    });
    file.close();
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
