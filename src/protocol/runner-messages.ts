import { NotificationType, RequestType } from 'vscode-jsonrpc';
import type { AuditProgress, AuditRequest } from './audit-request.js';
import type { Reading } from './deadlines.js';
import type { DefenceReport } from './defence-report.js';
import type { DefendProgress, DefendRequest } from './defend-request.js';
import type { UnusableInputParts } from './errors.js';
import type { FileIdentity } from './manifest.js';
import type { ProjectPlan } from './project-report.js';
import type {
  DifferenceSummary,
  Directory,
  ElementText,
  FileKind,
  FileFindings,
  FileKindReport,
  FilterImages,
  Histogram,
  NonZeroRows,
  PictureRequest,
  Pictures,
  Slice,
  SliceRequest,
  TensorDifference,
  TensorStatistics,
} from './inspection.js';

/**
 * What host and child process say to each other: JSON-RPC over the child's standard streams. Control
 * only: tensors and reports travel as files, and of tensors no more than what a screen shows.
 */

/** Raised whenever a message changes its meaning; both sides refuse to talk across versions. */
export const PROTOCOL_VERSION = 5;

export interface HelloParams {
  protocolVersion: number;
}

export interface HelloResult {
  protocolVersion: number;
  toolVersion: string;
  /** Version of the runtime, such as `v24.1.0`. */
  node: string;
  pid: number;
}

export interface AuditParams {
  /** Chosen by the host; progress notifications carry it. */
  id: string;
  request: AuditRequest & { out: string };
}

export interface AuditOutcome {
  /** The request's folder, which now holds `report.json`. */
  folder: string;
  /** One sentence when the files do not belong together; the report says more. */
  mismatch: string | null;
  /** One sentence when no method could judge the files, which must not look like a clean result. */
  notAssessed: string | null;
  /** True when the user stopped it; the report then holds what was found until then. */
  cancelled: boolean;
}

export interface DefendParams {
  /** Chosen by the host; progress notifications carry it. */
  id: string;
  /** The folder then holds `defence.json`; it says `stopped` when the user stopped it with something found. */
  request: DefendRequest & { out: string };
}

export interface DefendOutcome {
  folder: string;
  status: DefenceReport['status'];
  /** As the report's. */
  sentence: string;
}

export interface DefendProgressParams {
  id: string;
  progress: DefendProgress;
}

export interface ProgressParams {
  id: string;
  progress: AuditProgress;
}

/** Said before and after what holds the child up as long as it takes, so that the host can end it. */
export interface ReadingParams {
  /** The same in both. */
  id: number;
  /** What is being read; null when that is over. */
  reading: { path: string; what: Reading } | null;
}

export interface RankParams {
  gradients: string;
  candidates: string[];
}

export interface RankedCheckpoint {
  path: string;
  /** What it seems to be; absent for what cannot be read. */
  kind?: FileKind;
  /** 0 to 1, how well names and shapes match. */
  fit: number;
  /** Why it cannot be used at all, null when it can. */
  problem: string | null;
  /** By its contents it surely is something else than a checkpoint, so there is no point in offering it. */
  isOther?: true;
}

export interface KindsParams {
  /** The first are looked at first; at most 50 files and five seconds. */
  paths: string[];
  /** Also say how well each file, taken as a gradient, fits this one. */
  checkpoint?: string;
}

export interface FileOfKind {
  path: string;
  kind: FileKindReport;
  /** 0 to 1; null when no checkpoint was given. */
  fit: number | null;
  /** False for what surely is no gradient, so that there is no point in offering it as one. */
  canBeGradient: boolean;
  /** Weights of the checkpoint's own model some training apart: with them as those after, the difference is audited. */
  isOtherState: boolean;
}

export interface CompareParams {
  /** Of a stored report, which is written anew with the comparison. */
  folder: string;
  /** `truth.json` that the user chose. */
  truth: string;
}

export interface EnginesParams {
  /** Folder of `@tensorflow/tfjs-node-gpu`, null for none. */
  tfjsFolder: string | null;
}

export interface EngineStatus {
  id: string;
  works: boolean;
  /** What it is, or what it needs. */
  detail: string;
}

export interface OpenedInspection {
  /** Names the open file in later requests. */
  inspection: number;
  directory: Directory;
}

export interface RowsParams {
  inspection: number;
  rows: number[];
}

/** What one look at an open file asks for, and what it answers. */
export interface Looks {
  kind: { params: object; result: FileKindReport };
  findings: { params: object; result: FileFindings };
  slice: { params: { row: number; request: SliceRequest }; result: Slice };
  histogram: { params: { row: number }; result: Histogram };
  text: { params: { row: number; start: number }; result: ElementText };
  filters: { params: { row: number; input: number }; result: FilterImages };
  pictures: { params: { row: number; request: PictureRequest }; result: Pictures };
  rows: { params: { row: number }; result: NonZeroRows };
  compare: { params: { path: string }; result: DifferenceSummary };
  'compare-nothing': { params: object; result: null };
  close: { params: object; result: null };
}

export type Look = { [K in keyof Looks]: { look: K } & Looks[K]['params'] }[keyof Looks];

export const HelloRequest = new RequestType<HelloParams, HelloResult, void>('gradleak/hello');
export const AuditRun = new RequestType<AuditParams, AuditOutcome, UnusableInputParts>('gradleak/audit');
export const DefendRun = new RequestType<DefendParams, DefendOutcome, UnusableInputParts>('gradleak/defend');
export const DefendProgressNotification = new NotificationType<DefendProgressParams>('gradleak/defend/progress');
export const RankCheckpoints = new RequestType<RankParams, RankedCheckpoint[], UnusableInputParts>('gradleak/rank');
/** Answers those that could be read and that there was time for: of any other file nothing is known. */
export const TellKinds = new RequestType<KindsParams, FileOfKind[], UnusableInputParts>('gradleak/kinds');
export interface PlanParams {
  root: string;
  /** Globs relative to the root that are left out. */
  exclude: string[];
  includeIgnored: boolean;
  /** Stands for the settings of the audits to come. */
  settings: string;
  /** What tells that a file is the same: its contents where undefined. */
  identity?: FileIdentity;
  /** File that keeps the contents' hashes from plan to plan. */
  hashCache?: string;
  /** Files and folders that are looked at; a limit that suits an editor where undefined. */
  mostEntries?: number;
  /** Files that are not looked at any more, absolute, with the reason. */
  leftOut?: { path: string; reason: string }[];
}

export const PlanProject = new RequestType<PlanParams, ProjectPlan, UnusableInputParts>('gradleak/plan');
/** Compares what an audit recovered with a truth; it has no part in any result. */
export const CompareTruth = new RequestType<CompareParams, null, UnusableInputParts>('gradleak/compare');
export const ProbeEngines = new RequestType<EnginesParams, EngineStatus[], void>('gradleak/engines');
export const OpenInspection = new RequestType<{ path: string }, OpenedInspection, UnusableInputParts>(
  'gradleak/inspect/open',
);
/** Answers those that a tenth of a second sufficed for, at least one. */
export const InspectStatistics = new RequestType<
  RowsParams,
  { row: number; statistics: TensorStatistics }[],
  UnusableInputParts
>('gradleak/inspect/statistics');
export const InspectDifferences = new RequestType<
  RowsParams,
  { row: number; difference: TensorDifference }[],
  UnusableInputParts
>('gradleak/inspect/differences');
export const InspectLook = new RequestType<
  { inspection: number; look: Look },
  Looks[keyof Looks]['result'],
  UnusableInputParts
>('gradleak/inspect/look');
export const ProgressNotification = new NotificationType<ProgressParams>('gradleak/progress');
export const ReadingNotification = new NotificationType<ReadingParams>('gradleak/reading');

/** JSON-RPC error codes of our own (the range from -32000 down is reserved for servers). */
export const RUNNER_ERRORS = { unusableInput: -32001, cancelled: -32002, fault: -32003 } as const;
