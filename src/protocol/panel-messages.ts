import type { Report } from './report.js';

/** What host and results panel say to each other. */

/** Host to panel. */
export type ToPanel = ShowReport | ShowProblem;

/** The panel shows this audit from now on. */
export interface ShowReport {
  t: 'show';
  /** The panel keeps only this; after a reload the host finds the audit again by it. */
  auditId: string;
  report: Report;
}

/** The audit cannot be shown (any more). */
export interface ShowProblem {
  t: 'problem';
  sentence: string;
}

/** Panel to host. */
export type FromPanel = PanelReady | SaveRequest | CopyRequest | LogRequest;

/** Sent once the panel can receive messages. */
export interface PanelReady {
  t: 'ready';
}

/** Save something where the user says. */
export interface SaveRequest {
  t: 'save';
  what: 'json' | 'npy' | 'png';
  /** The picture as base64, for `png` only. */
  png?: string;
}

/** Put text on the clipboard. */
export interface CopyRequest {
  t: 'copy';
  text: string;
}

/** Show the log channel. */
export interface LogRequest {
  t: 'log';
}

/** What the panel keeps across a window reload. */
export interface PanelState {
  auditId: string;
}
