import type { Normalisation } from './normalisations.js';
import type { StatedTraining } from './stated-training.js';

/** What an audit is asked to do and how it tells of its progress; the same for command line and editor. */

export interface AuditRequest {
  /** Without it, only methods that read nothing of a checkpoint run. */
  checkpoint?: string;
  gradients: string;
  /** Name of the head's weight or layer, when it is not to be found automatically. */
  head?: string;
  layout?: Layout;
  method: (typeof METHODS)[number];
  /** Number of samples in the gradient, when the user knows it. */
  batchSize?: number;
  /** How a client trained between the weights before and after, as far as the user knows; before what a capture states. */
  training?: StatedTraining;
  /** The search for a batch's samples ends after this long with what it has. */
  batchTimeLimitSeconds?: number;
  /** JSON file with the true labels and features; only compared with. */
  truth?: string;
  /** Folder for `report.json` and `features.npy`; nothing is written without it. */
  out?: string;
  /** Replace files in `out` that GradLeak did not write. */
  force?: boolean;
  /** New file for what each method saw and decided, one JSON object a line. */
  trace?: string;
  /** Reconstruction of the input; none when absent. */
  reconstruction?: ReconstructionRequest;
}

export const METHODS = ['auto', 'paper'] as const;
/** Classes x features, features x classes. */
export const LAYOUTS = ['kxd', 'dxk'] as const;
export type Layout = (typeof LAYOUTS)[number];
export const ATTACKS = ['auto', 'chain', 'matching', 'none'] as const;
export const PRESET_NAMES = ['dlg', 'idlg', 'inverting-gradients', 'soft-label'] as const;
export const ENGINE_CHOICES = [
  'auto',
  'onnxruntime-cpu',
  'onnxruntime-webgpu',
  'onnxruntime-cuda',
  'onnxruntime-directml',
  'onnxruntime-coreml',
  'tfjs-node-gpu',
  'tfjs-node',
  'tfjs-wasm',
  'tfjs-cpu',
] as const;

export type EngineChoice = (typeof ENGINE_CHOICES)[number];

export interface ReconstructionRequest {
  /** `auto`: the closed form where it applies, else gradient matching. */
  attack: (typeof ATTACKS)[number];
  /** ONNX, Keras or recipe file that describes the network; found or recognised when absent. */
  model?: string;
  /** Shape of one input, when neither a file nor the layers tell it. */
  inputShape?: number[];
  preset: (typeof PRESET_NAMES)[number];
  /** Settings that differ from the preset's. */
  settings?: MatchingOverrides;
  engine: EngineChoice;
  /** Folder of the user's or our own `@tensorflow/tfjs-node-gpu`. */
  tfjsFolder?: string;
  /** Gradient matching is shortened to fit into this. */
  timeLimitSeconds: number;
  /** Pictures are drawn with it; null for their own range, absent for what the capture says. */
  normalisation?: Normalisation | null;
  /** ONNX model of LPIPS: two images in, one number out. */
  lpips?: string;
}

/** What each setting of gradient matching that is no number can be. */
export const MATCHING_CHOICES = {
  distance: ['l2', 'cosine'],
  terms: ['g', 'f', 'gf'],
  labels: ['recovered', 'hard', 'free', 'true'],
  optimiser: ['adam', 'lbfgs'],
} as const;

type MatchingChoice<Name extends keyof typeof MATCHING_CHOICES> = (typeof MATCHING_CHOICES)[Name][number];

export interface MatchingOverrides {
  distance?: MatchingChoice<'distance'>;
  terms?: MatchingChoice<'terms'>;
  featureWeight?: number;
  labels?: MatchingChoice<'labels'>;
  totalVariation?: number;
  normPrior?: number;
  optimiser?: MatchingChoice<'optimiser'>;
  learningRate?: number;
  iterations?: number;
  restarts?: number;
  seed?: number;
}

export const AUDIT_STAGES = ['open', 'match', 'read', 'check', 'recover', 'describe', 'reconstruct', 'write'] as const;

export type AuditStage = (typeof AUDIT_STAGES)[number];

/** Those before any method runs, in which a file may hold the audit up. */
export const READING_STAGES: readonly AuditStage[] = ['open', 'match', 'read'];

export interface AuditProgress {
  stage: AuditStage;
  /** For people: "Reading the head". */
  message: string;
  /** 0 to 1 over the whole audit, never falling. */
  fraction: number;
  /** Where a reconstruction stands, a few times a second. */
  reconstruction?: ReconstructionProgress;
}

export interface ReconstructionProgress {
  sample: number;
  method: 'chain' | 'maps' | 'matching';
  restart: number;
  iteration: number;
  of: number;
  loss: number | null;
  secondsLeft: number | null;
  /** What the picture shows. */
  caption: string;
  /** The image so far as a PNG in base64, at most some 200 kB; null between previews. */
  preview: string | null;
}
