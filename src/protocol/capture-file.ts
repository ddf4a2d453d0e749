/**
 * `capture.json`, as `gradleak_capture.py` writes it beside a dump. `media/capture.schema.json` is generated from these types.
 *
 * A script may leave out or set to null what it does not know, and note more than is named here.
 */
export interface CaptureFile {
  /** 1, or 2 where the file says its kind. */
  schema_version?: Whole | null;
  /** What lies beside the checkpoint: a gradient, also where this is left out, or weights after local training. */
  kind?: 'gradient' | 'weights' | null;
  /** Shape of one input. */
  input_shape?: Size[] | null;
  /** How the network's layers ran. */
  mode?: 'eval' | 'train' | null;
  /** Samples of the gradient; of weights after local training, those of one step. */
  batch_size?: Size | null;
  /**
   * Of weights after local training.
   *
   * @maxLength 100
   */
  optimiser?: string | null;
  /** @minimum 0 */
  learning_rate?: number | null;
  /**
   * 0 for plain SGD.
   *
   * @minimum 0
   */
  momentum?: number | null;
  local_steps?: Size | null;
  local_epochs?: Size | null;
  /** Samples that the client trained on. */
  samples?: Size | null;
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
 * @maximum 9007199254740991
 */
type Size = number;

/**
 * @asType integer
 * @minimum 0
 * @maximum 9007199254740991
 */
type Whole = number;
