import { describe, expect, it } from 'vitest';
import { matrixSums } from '../../../src/facts/matrix-sums.js';
import { rowBlocks } from '../../../src/facts/row-blocks.js';
import { memorySource } from '../../../src/formats/byte-source.js';
import { openTensorSource } from '../../../src/formats/open.js';
import { encodeNpy } from '../../../src/formats/write-npy.js';
import { touchedRows } from '../../../src/recovery/embedding-rows.js';

function fileOf(rows: Float64Array[]) {
  const file = openTensorSource(memorySource('matrix.npy', encodeNpy(rows)));
  return { file, entry: file.entries[0]! };
}

describe('sums of a matrix', () => {
  it('are those of its definition, over more than one block', () => {
    // 700 x 1000: a block has 524 rows.
    const rows = Array.from({ length: 700 }, (_, row) =>
      Float64Array.from({ length: 1000 }, (_unused, column) => Math.sin(row * 1000 + column)),
    );
    const { file, entry } = fileOf(rows);
    const columnSums = Float64Array.from({ length: 1000 }, (_, column) =>
      rows.reduce((sum, row) => sum + (row[column] ?? NaN), 0),
    );
    const rowSums = rows.map((row) => row.reduce((sum, value) => sum + value, 0));
    const sums = matrixSums(file, entry);
    expect(sums.size).toBeCloseTo(Math.hypot(...rows.map((row) => Math.hypot(...row))), 8);
    expect(sums.overRows).toBeCloseTo(Math.hypot(...columnSums), 8);
    expect(sums.overColumns).toBeCloseTo(Math.hypot(...rowSums), 8);
  });

  it('are no numbers where an entry is none', () => {
    const { file, entry } = fileOf([Float64Array.of(1, NaN), Float64Array.of(1, 2)]);
    expect(matrixSums(file, entry).size).toBeNaN();
  });
});

describe('touched rows', () => {
  const rows = Array.from({ length: 1200 }, (_, row) =>
    Float64Array.from({ length: 1000 }, (_unused, column) => (row % 500 === 3 && column === 999 ? 1e-300 : 0)),
  );

  it('are found in every block', () => {
    const { file, entry } = fileOf(rows);
    expect(touchedRows(1000, rowBlocks(file, entry))).toEqual([3, 503, 1003]);
  });

  it('end at one more than are of interest, and nothing after it is read', () => {
    const { file, entry } = fileOf(rows);
    let blocks = 0;
    function* counted(): Generator<Float64Array> {
      for (const values of rowBlocks(file, entry)) {
        blocks++;
        yield values;
      }
    }
    expect(touchedRows(1000, counted(), 0)).toEqual([3]);
    expect(blocks).toBe(1);
  });
});
