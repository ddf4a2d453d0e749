import type { Facts } from '../facts/facts.js';
import type { TensorFile } from '../formats/tensor-file.js';
import type { NextStep } from '../protocol/next-steps.js';
import type { ReconstructionProgress } from '../protocol/audit-request.js';
import type {
  EngineReport,
  Finding,
  LeakReport,
  MethodReport,
  NetworkReport,
  ReconstructionReport,
  UpdateKind,
} from '../protocol/report.js';

/**
 * A way to compute something private from an update. A new one is a folder beside this file and a line in `src/audit/registry.ts`;
 * pipeline, report and every view take it from there.
 */
export interface Method {
  readonly id: string;
  /** Of its row among what was and was not assessed. */
  readonly title: string;
  /** What its results rest on, as the rest of "It assumes that ...". */
  readonly assumes: string;
  /** Where it was published, null for what is ours. */
  readonly cites: string | null;
  /** How long it may take; what takes minutes comes last, and until then the others' results are safe on disk. */
  readonly cost: 'ms' | 's' | 'min';
  /** `gradient`: it reads nothing of a checkpoint, and also runs where none was given. */
  readonly needs?: 'gradient';
  /** What it can read. */
  readonly kinds: readonly UpdateKind[];
  /** True, a sentence that says why not, or null where it is not worth one: another method reads what this one would. */
  applies(facts: Facts): Promise<true | string | null>;
  /** What it tells of one file by itself, for whoever only looks at that file. */
  readonly look?: FileLook;
  /** @throws UnusableInputError, CancelledError; what it found itself before a stop is returned with `stopped` instead */
  run(facts: Facts, context: Context): Promise<MethodResult>;
}

export interface FileLook {
  /** What the file has to be. */
  readonly of: 'checkpoint' | 'gradient';
  /** @throws UnusableInputError when a tensor cannot be read */
  find(file: TensorFile): Leak[];
}

/** What is read as a gradient. Reading the head of a checkpoint's copy ends with its own error. */
export const READABLE: readonly UpdateKind[] = [
  'gradient',
  'difference',
  'quantised',
  'pruned',
  'unknown',
  'checkpoint',
];

export interface Context {
  /** @param share of this method's own work, 0 to 1 */
  progress(message: string, share: number, preview?: ReconstructionProgress): void;
  /** Lets other work run; throws CancelledError once the user has asked to stop. */
  pause(): Promise<void>;
  /** The input of every sample as far as the methods before got, in the samples' order; empty where none gives any. */
  readonly inputs: readonly Reconstruction[];
  /** What the methods before found. */
  readonly leaks: readonly Leak[];
  /** True labels, B rows of K; only where the user let them in. */
  readonly trueLabels: readonly (readonly number[])[] | undefined;
}

export interface MethodResult {
  readonly outcome: MethodReport['outcome'];
  /** One sentence: what was found, or at which noise nothing was, or why it could not be tried after all. */
  readonly detail: string;
  readonly leaks: readonly Leak[];
  /** The input of every sample, in the samples' order, as far as this method got; the surest of all methods' is kept. */
  readonly inputs?: readonly Reconstruction[];
  /** What the inputs were computed through, null where no network was known. */
  readonly network?: NetworkReport | null;
  readonly engine?: EngineReport;
  /** The user stopped it, and this is what it had. */
  readonly stopped?: boolean;
  /** What would let it find more. */
  readonly next?: readonly NextStep[];
}

/** A leak with what a report does not hold itself. */
export interface Leak extends Omit<LeakReport, 'method' | 'files'> {
  readonly findings: readonly Finding[];
  /** Written beside the report, and named there. */
  readonly arrays: readonly NamedArray[];
}

export interface NamedArray {
  /** Without ending; unique within the audit. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export interface Reconstruction {
  readonly report: ReconstructionReport;
  /** Undefined when nothing was found. */
  readonly input: Float64Array | undefined;
}
