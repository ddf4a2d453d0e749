import type { AuditProgress } from './audit-request.js';
import type { DefenceEffort, DefenceReport } from './defence-report.js';
import type { DefendProgress } from './defend-request.js';
import type { NextStep } from './next-steps.js';
import type { Normalisation } from './normalisations.js';
import type { Report } from './report.js';

/**
 * What host and results panel say to each other. `from-panel.schema.json` and `panel-state.schema.json` are generated from
 * these types: a webview is not trusted to keep to them.
 */

/** Host to panel. */
export type ToPanel = ShowReport | ShowProblem | ShowRun | ShowDefence;

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

/** What would stop the leaks of the audit that is shown: sent while defences are tried, and when they were. */
export interface ShowDefence {
  t: 'defence';
  auditId: string;
  /** Null when nothing is being tried (any more). */
  progress: DefendProgress | null;
  /** Absent where it is as it was. */
  stored?: StoredDefence;
  /** Why defences could not be tried. */
  problem?: string;
}

/** A sweep with the pictures that its report names. */
export interface StoredDefence {
  report: DefenceReport;
  pictures: DefencePicture[];
}

export interface DefencePicture {
  /** Its file in the report's folder, by which the report names it. */
  file: string;
  /** PNG in base64. */
  png: string;
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
  | ChangeRequest
  | TryDefences;

/** Sent once the panel can receive messages. */
export interface PanelReady {
  t: 'ready';
}

/** Save something where the user says. */
export interface SaveRequest {
  t: 'save';
  /** `txt`: the texts of the report, `csv`: the sweep of defences, `html`: this panel as one file; the host makes them itself. */
  what: 'json' | 'npy' | 'png' | 'input-npy' | 'txt' | 'csv' | 'html';
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
  name?: 'reconstruction.png' | 'defences.png';
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

/** Stop the running audit, or the defences that are being tried, and keep what is there. */
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

/** Try defences on the audited update. */
export interface TryDefences {
  t: 'defend';
  effort: DefenceEffort;
}

/** What a saved page of the panel holds. */
export interface PanelPage {
  report: Report;
  images: PanelImage[];
  defence?: StoredDefence;
}

/** What the panel keeps across a window reload. */
export interface PanelState {
  auditId: string;
}
