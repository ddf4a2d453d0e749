import type { Certificate, Detail } from './detail.js';
import type { NextStep } from './next-steps.js';
import type { Normalisation } from './normalisations.js';

/**
 * The audit report, schema version 2. `media/report.schema.json` is generated from these types.
 *
 * Within a version, fields may be added and none is removed or changes its meaning. A measured number that is not finite
 * is null in the file.
 */

/** Shares, probabilities and confidences are 0 to 1; times are milliseconds; class indices start at 0. */
export interface Report {
  schemaVersion: 2;
  tool: { name: 'gradleak'; version: string };
  /** What the audit found, in one sentence. */
  verdict: Verdict;
  /** When the audit ended, ISO 8601; absent in reports of earlier versions. */
  finished?: string;
  /**
   * `checkpoint` is null where none was given. `files`: every file that was read, by its contents; absent in reports of
   * earlier versions, and where the audit was stopped before.
   */
  inputs: { checkpoint: InputFile | null; gradients: InputFile; files?: HashedFile[]; objects?: StoredFile[] };
  /** Null where no classifier head was found and only other parts leak. */
  head: HeadDescription | null;
  /** What the file given as a gradient is; absent in reports of earlier versions. */
  update?: UpdateReport;
  consistency: ConsistencyCheck[];
  /** Which methods ran, and why the others did not; absent in reports of earlier versions. */
  methods?: MethodReport[];
  batch: BatchDescription;
  /** One entry per recovered sample, or group of samples that cannot be told apart; empty for a batch whose samples were only counted. */
  samples: SampleReport[];
  labelCounts: LabelCountReport | null;
  /** What else gives something away, whichever method told it; labels, features and inputs are with their samples. */
  leaks: LeakReport[];
  /** Names of the classes, when the user has a list of them. */
  classNames?: string[];
  /** Which network the reconstruction used, null when none was known or asked for. */
  network?: NetworkReport | null;
  /** What computed gradient matching, absent when nothing was matched. */
  engine?: EngineReport;
  findings: Finding[];
  timings: Timings;
  /** True when the user stopped the audit: what was found until then is here, the rest is missing. */
  cancelled?: true;
  /** What can be given to find out more, most useful first; absent where nothing can. */
  next?: NextStep[];
  /** Errors against a truth file; the truth takes part in a result only where its reconstruction says `usedTruth`. */
  truth?: TruthComparison;
}

export interface Verdict {
  /**
   * `leaks`: something was recovered; `counts`: only how often classes occur; `none`: nothing was found by the methods
   * that apply; `not-assessed`: no method could judge this file, for the reason that the sentence gives; `mismatch`: the
   * files do not belong together.
   */
  outcome: 'leaks' | 'counts' | 'none' | 'not-assessed' | 'mismatch';
  sentence: string;
}

/** What the file given as a gradient is, settled before anything is recovered. */
export type UpdateKind =
  | 'gradient'
  | 'checkpoint'
  | 'optimiser-state'
  | 'difference'
  | 'several-steps'
  | 'adam-step'
  | 'sign'
  | 'quantised'
  | 'pruned'
  | 'unknown';

export type SignToldBy = 'files' | 'rounding' | 'counter' | 'decay' | 'recovery' | 'labels';

export interface UpdateReport {
  kind: UpdateKind;
  /** One sentence each, what the kind was told from. */
  reasons: string[];
  /**
   * The captured numbers were multiplied by this sign before the audit: -1 for weights after minus weights before,
   * since a descent step subtracts the gradient.
   */
  sign: 1 | -1;
  /**
   * What the sign of a difference was told from: two files of one state each, the rounding of single entries, a counter and
   * weight decay are conclusive, as is a label that the checkpoint explains with one sign alone; what labels suggest is not.
   * Null when it was assumed; absent for other kinds and in reports of earlier versions.
   */
  signToldBy?: SignToldBy | null;
  /** Local steps that a difference is of, where a counter or the capture tells; absent where nothing does. */
  steps?: Count;
  /** Root mean square of the rounding error of one number of the head, in the file's units; null where it is relative to the number. */
  absoluteError: number | null;
}

export interface InputFile {
  path: string;
  /** Container format, such as `torch-zip` or `safetensors`. */
  format: string;
  /** Number of tensors in the file. */
  tensors: Count;
}

/** An object of a store that an audit read parts of; hashing would have fetched all of it. */
export interface StoredFile extends Pick<HashedFile, 'role' | 'path' | 'bytes'> {
  /** What the store says of it: another one is another object. */
  identity: string;
}

/** A file as it was when the audit ended. */
export interface HashedFile {
  /** `beside`: notes that lay beside the gradient or the checkpoint, such as `capture.json` or a vocabulary. */
  role: 'gradient' | 'checkpoint' | 'network' | 'beside' | 'truth';
  path: string;
  bytes: Count;
  /** 64 hexadecimal digits. */
  sha256: string;
}

export interface HeadDescription {
  /** Name of the weight in the checkpoint. */
  weight: string;
  /** Name of the bias in the checkpoint, null for a head without one. */
  bias: string | null;
  /** K, number of classes. */
  classes: Count;
  /** d, number of features. */
  features: Count;
  /** `kxd` as PyTorch stores it, `dxk` as Keras and Flax do. */
  layout: 'kxd' | 'dxk';
  /** False when the dump holds no gradient for the bias. */
  biasGradient: boolean;
  activation: 'softmax' | 'sigmoid';
}

export type CheckStatus = 'pass' | 'warn' | 'fail';

export interface ConsistencyCheck {
  id: string;
  status: CheckStatus;
  /** One sentence. */
  detail: string;
}

export interface BatchDescription {
  /** Number of samples, null when it cannot be told. */
  size: number | null;
  lowerBound: Count;
  /** One sentence. */
  evidence: string;
  /** Samples recovered one by one, groups counted by their size; absent for a single sample. */
  found?: Count;
  /** Share of the head gradient's norm that the recovered samples explain, 0 to 1. */
  explained?: number;
  /** True where the time for the search was up before it ended by itself: longer, it may find more. */
  endedEarly?: true;
}

export interface MethodReport {
  id: string;
  title: string;
  /** What its results rest on, as the rest of "It assumes that ..."; absent in reports of earlier versions. */
  assumes?: string;
  /**
   * `found`: it recovered something; `estimated`: nothing confirms what it found; `nothing`: it ran and found nothing;
   * `not-applicable`: it could not run here.
   */
  outcome: 'found' | 'estimated' | 'nothing' | 'not-applicable';
  /** One sentence: what it found, or at which noise it found nothing, or why it does not apply. */
  detail: string;
}

/** Something that a method computed from the gradient. */
export interface LeakReport {
  /** Id of the method; its row in `methods` has the title. */
  method: string;
  /** What it is, in a word or two: "Embedding". */
  noun: string;
  /** In a line, with the tensor: "wte.weight: 12 of 50257 tokens occur". */
  what: string;
  /** As part of a sentence on everything that leaks; null where another leak or a sample says it. */
  brief: string | null;
  /** Heading, and its size: "4 of 300". */
  title: string;
  amount: string | null;
  /** Index of the sample that it tells of, null for what belongs to the whole gradient. */
  sample: Count | null;
  /** Name of the checkpoint's tensor that leaks, null where it is none in particular. */
  tensor: string | null;
  certificate: Certificate | null;
  /** Of its worst finding, null without any; absent in reports of earlier versions. */
  severity?: Severity | null;
  /** Private things that it gives away, counted; a length or a position is none. */
  gives: { inputs: Count; tokens: Count };
  details: Detail[];
  /** Files in the report's folder. */
  files: string[];
}

/** `undetermined`: several kinds explain the gradient within its noise. */
export type LabelKindName = 'hard' | 'smoothed' | 'mixup' | 'mixup-smoothed' | 'other' | 'undetermined';

export interface SampleReport {
  label: {
    /** K numbers. They sum to 1 for softmax heads. */
    probabilities: number[];
    kind: LabelKindName;
    /** Label smoothing's epsilon: each class gets epsilon / K. */
    smoothing: number;
    /** Classes that stand out, heaviest first, with their share of what smoothing leaves; `range` is the 95 % interval of the label's entry for the class. */
    classes: { index: Count; weight: number; range?: [number, number] }[];
    /** Posterior probability that the first class is the label's largest; absent in reports of earlier versions. */
    classConfidence?: number;
    /** Posterior probability of `kind`, and when that is undetermined of the most probable one. */
    kindConfidence?: number;
    /** Kinds that the gradient leaves open, most probable first, when `kind` is undetermined. */
    openKinds?: LabelKindName[];
    /** 95 % interval of smoothing's epsilon. */
    smoothingRange?: [number, number];
  };
  /** A row of a `.npy` file in the report's folder (null when nothing was written). */
  feature: { file: string | null; row: Count };
  featureStatistics: FeatureStatistics;
  /** The paper's lambda: feature = lambda times the gradient row of the largest |row sum|, in a batch of the sample's own part of the gradient. */
  scalar: number;
  /** Scale-free misfit rho of the label, s^2 SS(y(s)) / ||u||^2 for the feature s v of the gradient u v^T; 0 is perfect. */
  residual: number;
  /** What noise and rounding alone would leave of rho. */
  residualFloor: number;
  /** 0 to 1, this solution against the second best distinct one. */
  confidence: number;
  method: string;
  /** One or two sentences on how the method came to it. */
  explanation: string;
  status: 'recovered' | 'ambiguous' | 'not-identifiable';
  /** One sentence on the status. */
  reason: string;
  /** The captured gradient is this many times the one the loss gives; 1 unless scaled. */
  gradientScale: number;
  landscape: LandscapeReport | null;
  /** The gradient may be of several samples: the feature is their weighted sum, up to its length. */
  mayBeSeveral?: true;
  /** More than 1 for samples of one class that a batch's gradient does not tell apart: the feature is their mean. */
  multiplicity?: Count;
  /** In a batch: size of the sample's part of the head gradient against all parts and the unexplained rest, 0 to 1. */
  share?: number;
  /** In a batch: expected relative error of the feature. */
  featureError?: number;
  /** The input, as far as it was recovered; absent when no reconstruction was tried. */
  reconstruction?: ReconstructionReport;
}

export interface NetworkReport {
  /** Where the network's layers are known from. */
  source: 'onnx' | 'keras' | 'recipe' | 'built-in';
  /** The file, null for a built-in recipe. */
  file: string | null;
  name: string;
  /** Shape of one input: channels, height, width for images. */
  inputShape: Count[];
  layers: Count;
  /** How batch normalisation ran when the gradient was captured; null without any. */
  normMode: 'eval' | 'train' | null;
  /** One sentence each: what was tried, and why this one was taken. */
  reasons: string[];
}

export interface EngineReport {
  id: string;
  description: string;
  /** One sentence per engine that was considered, taken or not. */
  reasons: string[];
}

export interface ReconstructionReport {
  /** float32, NCHW, the network's own normalised input; in the report's folder, null when nothing was written. */
  file: string | null;
  /** An 8-bit picture of it, null for inputs that are not images. */
  preview: string | null;
  shape: Count[];
  method: 'chain' | 'maps' | 'matching' | 'patches' | 'none';
  /** The method's name as part of a sentence: "the closed form"; empty where none came to anything. */
  by: string;
  /**
   * `exact`: the gradient simulated from it is the captured one, or the equations that give it hold, down to numerical error;
   * `close`: it explains most of it, or errs by what `expectedError` says;
   * `uncertain`: it may look plausible, but the gradient does not confirm it; `failed`: nothing was found.
   */
  verdict: 'exact' | 'close' | 'uncertain' | 'failed';
  /** One sentence on the verdict, on what stopped the exact method, or on what is missing. */
  reason: string;
  /** True when the user let the true label into the reconstruction (`--labels true`): the result is no evidence of a leak. */
  usedTruth?: true;
  /** ||simulated - captured|| / ||captured|| over all parameters; null when it could not be simulated. */
  gradientError: number | null;
  /** The same of the layer of which most is left, relative to its own; absent where that is rounding and noise in all. */
  worstLayer?: LayerError;
  /** Lowest loss that matching reached, null for the closed form. */
  matchingLoss: number | null;
  /** True where batch normalisation in train mode hides the input's size from its gradient: it is right up to one factor. */
  sizeOpen?: true;
  /** Root mean square error that a closed form expects of itself, in units of the input. */
  expectedError: number | null;
  /** The closed form's evidence, layer by layer from the head down. */
  chain: ChainLayerReport[];
  /** Settings and course of gradient matching, null when it did not run. */
  matching: MatchingReport | null;
  seconds: number;
  /** Against the true input, when it was given: mean squared error, PSNR in dB (range of the true image), 8-bit PSNR, SSIM, LPIPS. */
  mse?: number;
  psnr?: number;
  psnr8bit?: number;
  /** PSNR of the input times the factor that fits best, where its size is hidden. */
  psnrFitted?: number;
  ssim?: number;
  lpips?: number;
  /** The true input, float32 in the report's folder. */
  truthFile?: string;
  /** Per-channel mean and deviation by which inputs were normalised, when known. */
  normalisation?: Normalisation;
}

/** What an input leaves of the gradient of one layer's weights, relative to it. */
export interface LayerError {
  weight: string;
  error: number;
}

export interface ChainLayerReport {
  layer: string;
  op: 'linear' | 'conv';
  unknowns: Count;
  equations: Count;
  rank: Count;
  /** Largest over smallest singular value of the weighted equations. */
  condition: number;
  /** Share of the layer's weight gradient that the recovered input does not explain. */
  residual: number;
  /** Relative distance of the bias gradient from what the layers above say; null without a bias. */
  biasMisfit: number | null;
  /** Expected root mean square error of the recovered input of the layer. */
  inputError: number;
  converged: boolean;
}

export interface MatchingReport {
  preset: string;
  distance: 'l2' | 'cosine';
  terms: 'g' | 'f' | 'gf';
  labels: 'recovered' | 'hard' | 'free' | 'true';
  optimiser: 'adam' | 'lbfgs';
  iterations: Count;
  /** Iterations that were done, all restarts together. */
  done: Count;
  millisecondsPerIteration: number;
  /** Lowest loss over the iterations, one curve per restart. */
  curves: { iteration: number[]; loss: number[] }[];
}

export interface FeatureStatistics {
  length: Count;
  min: number;
  max: number;
  mean: number;
  /** Euclidean norm. */
  norm: number;
  /** Share of entries that are exactly or nearly zero, as after ReLU. */
  zeroShare: number;
  /** The feature averaged down to at most 512 numbers, for display. */
  preview: number[];
}

/** Loss over lambda around and far from the solution, at the gradient's own scale; all arrays have one length, lambda ascends. */
export interface LandscapeReport {
  lambda: number[];
  /** The residual rho of the chosen label family. */
  residual: number[];
  /** The paper's L_label. */
  paperLoss: number[];
  /** lambda of the solution, one of the above; where no label was told, that of the lowest residual. */
  solution: number;
}

export interface LabelCountReport {
  estimators: {
    name: string;
    assumption: string;
    /** K whole numbers. */
    counts: number[];
    /** False for an estimator that only tells which classes occur. */
    multiplicity: boolean;
  }[];
  /** Per class, the count on which a strict majority of the counting estimators agrees, else null. */
  agreed: (number | null)[];
  /**
   * What confirms the counts independently of the estimators' shared assumptions, one sentence; null where nothing does, and
   * they are an estimate. Absent in reports of earlier versions.
   */
  confirmedBy?: string | null;
}

export type Severity = 'critical' | 'high' | 'medium' | 'low';

export interface Finding {
  id: string;
  severity: Severity;
  title: string;
  evidence: string;
  mitigation: string;
}

export interface Timings {
  readMs: number;
  recoverMs: number;
  reconstructMs?: number;
  totalMs: number;
}

export interface TruthComparison {
  path: string;
  /** It lay beside the gradient and was not asked for: it took no part. */
  found?: true;
  /** It was chosen when the audit had ended: it took no part. */
  chosenAfterwards?: true;
  samples: {
    /** Largest |recovered - true| over the classes. */
    labelMaxError: number | null;
    /** ||recovered - true|| / ||true||. */
    featureRelativeError: number | null;
    /** In a batch: the true sample that is compared with, null for one that matches none. */
    truthRow?: Count | null;
  }[];
  /** In a batch: true samples that no recovered one matches. */
  missed?: Count;
  /** Classes whose agreed count differs from the truth. */
  countErrors: Count | null;
}

/**
 * How many, or an index from 0: never null for want of being finite.
 *
 * @asType integer
 * @minimum 0
 */
type Count = number;

/** Severities from worst to mildest, for comparing. */
export const SEVERITIES: readonly Severity[] = ['critical', 'high', 'medium', 'low'];

/** Features of the samples, in the report's folder: one row each. */
export const FEATURES_FILE = 'features.npy';
