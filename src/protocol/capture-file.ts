/**
 * `capture.json`, as `gradleak_capture.py` writes it beside a dump. `media/capture.schema.json` is generated from these types.
 *
 * A script may leave out or set to null what it does not know, and note more than is named here.
 */
export interface CaptureFile {
  schema_version?: Whole | null;
  /** Shape of one input. */
  input_shape?: Size[] | null;
  /** How the network's layers ran. */
  mode?: 'eval' | 'train' | null;
  batch_size?: Size | null;
  /** By which inputs were normalised, per channel. */
  normalisation?: CaptureNormalisation | null;
  /** Absolute path of the script that captured, and the line of the call, from 1. */
  script?: string | null;
  line?: Size | null;
  /** Round of the training that the gradient is of. */
  round?: Whole | null;
  /** Names of the parameters that were trained. */
  parameters?: string[] | null;
  /** Version of PyTorch. */
  torch?: string | null;
}

export interface CaptureNormalisation {
  /** @minItems 1 */
  mean: number[];
  /** @minItems 1 */
  std: number[];
}

/**
 * @asType integer
 * @minimum 1
 */
type Size = number;

/**
 * @asType integer
 * @minimum 0
 * @maximum 9007199254740991
 */
type Whole = number;
