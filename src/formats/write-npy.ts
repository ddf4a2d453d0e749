/**
 * A C-order float64 matrix as `.npy` version 1.0 (numpy.lib.format).
 *
 * @param rows equal lengths; an empty list gives shape (0, 0)
 */
export function encodeNpy(rows: readonly Float64Array[]): Uint8Array {
  const cols = rows[0]?.length ?? 0;
  const { bytes, view, start } = withHeader('<f8', [rows.length, cols], 8);
  let at = start;
  for (const row of rows) {
    for (const value of row) {
      view.setFloat64(at, value, true);
      at += 8;
    }
  }
  return bytes;
}

/** A C-order float32 array of any shape; values are rounded. */
export function encodeNpyArray(values: ArrayLike<number>, shape: readonly number[]): Uint8Array {
  const { bytes, view, start } = withHeader('<f4', shape, 4);
  for (let at = 0; at < values.length; at++) {
    view.setFloat32(start + 4 * at, values[at] ?? 0, true);
  }
  return bytes;
}

function withHeader(
  type: string,
  shape: readonly number[],
  width: number,
): { bytes: Uint8Array; view: DataView; start: number } {
  const sizes = shape.length === 1 ? `${shape[0] ?? 0},` : shape.join(', ');
  const dictionary = `{'descr': '${type}', 'fortran_order': False, 'shape': (${sizes}), }`;
  // The data must start at a multiple of 64 bytes, and the header ends with a line feed.
  const start = Math.ceil((10 + dictionary.length + 1) / 64) * 64;
  const bytes = new Uint8Array(start + shape.reduce((product, size) => product * size, 1) * width);
  bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0]);
  const view = new DataView(bytes.buffer);
  view.setUint16(8, start - 10, true);
  bytes.set(new TextEncoder().encode(dictionary.padEnd(start - 11) + '\n'), 10);
  return { bytes, view, start };
}
