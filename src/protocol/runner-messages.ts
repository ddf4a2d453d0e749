import { NotificationType, RequestType } from 'vscode-jsonrpc';
import type { AuditProgress, AuditRequest } from './audit-request.js';
import type { UnusableInputParts } from './errors.js';

/**
 * What host and child process say to each other: JSON-RPC over the child's standard streams. Control
 * only: tensors and reports travel as files.
 */

/** Raised whenever a message changes its meaning; both sides refuse to talk across versions. */
export const PROTOCOL_VERSION = 2;

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
  /** True when the user stopped it; the report then holds what was found until then. */
  cancelled: boolean;
}

export interface ProgressParams {
  id: string;
  progress: AuditProgress;
}

export interface RankParams {
  gradients: string;
  candidates: string[];
}

export interface RankedCheckpoint {
  path: string;
  /** 0 to 1, how well names and shapes match. */
  fit: number;
  /** Why it cannot be used at all, null when it can. */
  problem: string | null;
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

export const HelloRequest = new RequestType<HelloParams, HelloResult, void>('gradleak/hello');
export const AuditRun = new RequestType<AuditParams, AuditOutcome, UnusableInputParts>('gradleak/audit');
export const RankCheckpoints = new RequestType<RankParams, RankedCheckpoint[], UnusableInputParts>('gradleak/rank');
export const ProbeEngines = new RequestType<EnginesParams, EngineStatus[], void>('gradleak/engines');
export const ProgressNotification = new NotificationType<ProgressParams>('gradleak/progress');

/** JSON-RPC error codes of our own (the range from -32000 down is reserved for servers). */
export const RUNNER_ERRORS = { unusableInput: -32001, cancelled: -32002, fault: -32003 } as const;
