/**
 * A C-order float64 matrix as `.npy` version 1.0 (numpy.lib.format).
 *
 * @param rows equal lengths; an empty list gives shape (0, 0)
 */
export function encodeNpy(rows: readonly Float64Array[]): Uint8Array {
  const cols = rows[0]?.length ?? 0;
  const dictionary = `{'descr': '<f8', 'fortran_order': False, 'shape': (${rows.length}, ${cols}), }`;
  // The data must start at a multiple of 64 bytes, and the header ends with a line feed.
  const padded = Math.ceil((10 + dictionary.length + 1) / 64) * 64;
  const bytes = new Uint8Array(padded + rows.length * cols * 8);
  bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0]);
  const view = new DataView(bytes.buffer);
  view.setUint16(8, padded - 10, true);
  bytes.set(new TextEncoder().encode(dictionary.padEnd(padded - 11) + '\n'), 10);
  let at = padded;
  for (const row of rows) {
    for (const value of row) {
      view.setFloat64(at, value, true);
      at += 8;
    }
  }
  return bytes;
}
