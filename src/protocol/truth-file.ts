/**
 * What a dump really is of, as the capture writes it with `truth=True`: `truth.json`, one row per sample.
 * `media/truth.schema.json` is generated from these types; a file may hold more than is named here.
 */
export interface TruthFile {
  /** K numbers per sample. */
  labels?: number[][] | null;
  /** d numbers per sample. */
  feature?: number[][] | null;
  /** Name of a tensor file beside this one with the true inputs; `image.npy` where it is not given. */
  image?: string | null;
}
