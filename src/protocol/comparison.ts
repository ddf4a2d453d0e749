import type { Severity, Verdict } from './report.js';

/**
 * What two audits gave away, side by side: before a defence and with it, or in two rounds. What is missing in one of them is
 * only called gone where a method that would have told it ran there.
 */
export interface Comparison {
  schemaVersion: 1;
  a: ComparedAudit;
  b: ComparedAudit;
  /** Whether both audits are of one gradient, by its contents; `unknown` where a report does not hold its hash. */
  gradients: 'same' | 'different' | 'unknown';
  checkpoints: 'same' | 'different' | 'unknown';
  /** What was found in A, in B or in both; worst changes first. */
  leaks: ComparedLeak[];
  /** Methods that ran in one of them alone: what they would have told in the other is open. */
  onlyInA: ComparedMethod[];
  onlyInB: ComparedMethod[];
}

export interface ComparedAudit {
  /** Path as it was given to the audit; of a project, relative to its root. */
  gradients: string;
  /** ISO 8601; null where the report is of an earlier version, or there is none. */
  finished: string | null;
  /** Null where there is no report. */
  verdict: Verdict | null;
  /** How it came out, in a word or two. */
  standing: string;
  /** Why it is no complete judgement: stopped, not assessed, files that do not fit, no report; null for one that is. */
  open: string | null;
}

/**
 * `unassessed-a`: found in B, and nothing in A would have told it, so it may be new; `unassessed-b`: found in A, and nothing in B
 * would have told it, so it may be there still.
 */
export type Change = 'new' | 'unassessed-a' | 'worse' | 'unassessed-b' | 'same' | 'better' | 'gone';

/** From what needs a look most to what needs it least. */
export const CHANGES: readonly Change[] = ['new', 'unassessed-a', 'worse', 'unassessed-b', 'same', 'better', 'gone'];

export interface ComparedLeak {
  /** "Label", "Input", or the leak's title. */
  what: string;
  /** The sample by its class, or the tensor; null where there is nothing to tell it by. */
  of: string | null;
  change: Change;
  a: LeakSide;
  b: LeakSide;
}

export interface LeakSide {
  state: 'found' | 'nothing' | 'not-assessed';
  /** Null unless it was found. */
  severity: Severity | null;
  /** How much of it was found; or why it was not assessed. */
  detail: string;
}

export interface ComparedMethod {
  title: string;
  /** Why it did not run in the other one. */
  why: string;
}

/** Two projects, gradient by gradient: those of one path relative to their roots belong together. */
export interface ProjectComparison {
  schemaVersion: 1;
  a: { root: string; finished: string };
  b: { root: string; finished: string };
  entries: { gradients: string; comparison: Comparison }[];
}
