/**
 * a b^T for row-major a (rows x inner) and b (cols x inner), in float64; asynchronous, so that native code can do it
 * and a cancel can be heard.
 */
export type ProductKernel = (
  a: Float64Array,
  b: Float64Array,
  rows: number,
  cols: number,
  inner: number,
) => Promise<Float64Array>;
