import type { AuditProgress } from './audit-request.js';
import type { NextStep } from './next-steps.js';
import type { Normalisation } from './normalisations.js';
import type { Report } from './report.js';

/**
 * What host and results panel say to each other. `from-panel.schema.json` and `panel-state.schema.json` are generated from
 * these types: a webview is not trusted to keep to them.
 */

/** Host to panel. */
export type ToPanel = ShowReport | ShowProblem | ShowRun;

/** The panel shows this audit from now on. */
export interface ShowReport {
  t: 'show';
  /** The panel keeps only this; after a reload the host finds the audit again by it. */
  auditId: string;
  report: Report;
  /** Reconstructed inputs, by sample; empty where there are none. */
  images: PanelImage[];
  /** The line that captured the gradient; absent where its notes name none. */
  script?: CapturingLine;
}

export interface CapturingLine {
  file: string;
  line: number;
  /** Why the host does not open it, null where it does. */
  why: string | null;
}

/** A reconstructed input with all its numbers, so that the panel can draw it in any way. */
export interface PanelImage {
  /** Whose input it is, null for another picture. */
  sample: number | null;
  /** Its file in the report's folder, by which the report names it. */
  file: string;
  /** Without the batch: channels, height, width for images. */
  shape: number[];
  /** Little-endian float32 in base64. */
  values: string;
  truth: string | null;
  /** How inputs were normalised, when it is known. */
  normalisation: Normalisation | null;
}

/** An audit that runs: sent a few times a second. */
export interface ShowRun {
  t: 'run';
  auditId: string;
  progress: AuditProgress;
}

/** The audit cannot be shown (any more). */
export interface ShowProblem {
  t: 'problem';
  sentence: string;
  next: NextStep[];
}

/**
 * Panel to host.
 *
 * @discriminator t
 */
export type FromPanel =
  | PanelReady
  | SaveRequest
  | TruthRequest
  | CopyRequest
  | LogRequest
  | StopRequest
  | StepRequest
  | InspectRequest
  | ScriptRequest
  | ChangeRequest;

/** Sent once the panel can receive messages. */
export interface PanelReady {
  t: 'ready';
}

/** Save something where the user says. */
export interface SaveRequest {
  t: 'save';
  /** `txt`: the texts of the report, `html`: this panel as one file; the host makes both itself. */
  what: 'json' | 'npy' | 'png' | 'input-npy' | 'txt' | 'html';
  /** The picture as base64, for `png` only. */
  png?: string;
  /**
   * Whose input, for `input-npy` only; the first when absent.
   *
   * @asType integer
   * @minimum 0
   */
  sample?: number;
  /** Name to suggest for a picture that is not the chart. */
  name?: 'reconstruction.png';
}

/** Choose a truth that the report is compared with. */
export interface TruthRequest {
  t: 'truth';
}

/** Put text on the clipboard. */
export interface CopyRequest {
  t: 'copy';
  text: string;
}

/** Stop the running audit and keep what it has. */
export interface StopRequest {
  t: 'stop';
}

/** Do one of the steps that the report or the problem offers. */
export interface StepRequest {
  t: 'step';
  step: NextStep;
}

/** Show the log channel. */
export interface LogRequest {
  t: 'log';
}

/** Open one of the audit's files in the inspector. */
export interface InspectRequest {
  t: 'inspect';
  file: 'gradient' | 'checkpoint';
}

/** Go to the line that captured the gradient. */
export interface ScriptRequest {
  t: 'script';
}

/** Choose another checkpoint, and audit again with it. */
export interface ChangeRequest {
  t: 'change-checkpoint';
}

/** What the panel keeps across a window reload. */
export interface PanelState {
  auditId: string;
}
