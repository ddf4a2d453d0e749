import type { LabelKindName, Severity, Verdict } from './report.js';

/**
 * The report on a whole project, schema version 1. `media/project.schema.json` is generated from these types.
 *
 * Within a version, fields may be added and none is removed or changes its meaning.
 */
export interface ProjectReport {
  schemaVersion: 1;
  tool: { name: 'gradleak'; version: string };
  /** Folder that was audited. */
  root: string;
  /** ISO 8601. */
  finished: string;
  /** `cancelled`: what was done until then is here, and the next audit goes on from it. */
  status: 'complete' | 'cancelled';
  entries: ProjectEntry[];
  /** Files that look like dumps and were not audited. */
  skipped: SkippedFile[];
  summary: ProjectSummary;
}

/** One captured gradient with the checkpoint that fits it. Paths are relative to the root, with forward slashes. */
export interface ProjectEntry {
  /** Of paths and contents of the files, the settings and the tool's version; also the folder of its report. */
  id: string;
  gradients: string;
  checkpoint: string;
  /** 0 to 1, how well names and shapes of the two match. */
  fit: number;
  /** What belongs together: the path without the round that it names, else the dump's folder. */
  run: string;
  /** From the capture's notes or a name such as `round_3`, `epoch-2`, `step10`; null where neither tells one. */
  round: number | null;
  /** Line of the script that captured it. */
  script: { file: string; line: number } | null;
  truth: string | null;
  /** ONNX file above the dump that may describe its network; null where one is beside it, or there is none or several. */
  network: string | null;
  status: 'pending' | 'done' | 'failed' | 'cancelled';
  /** Why it failed. */
  problem: string | null;
  result: EntryResult | null;
  /** Against the audit before this one; `same` also where this one came to no judgement. */
  change: 'new' | 'worse' | 'better' | 'same';
}

export interface EntryResult {
  outcome: Verdict['outcome'];
  /** What was found, or why nothing was assessed. */
  sentence: string;
  /**
   * How often classes occur, null where it was not estimated: for how many of all classes it is told, and whether something
   * confirms it beyond the assumptions that the estimators share. Absent in reports of earlier versions.
   */
  counts?: { classes: number; of: number; confirmed: boolean } | null;
  /** Of the worst finding, null without any. */
  severity: Severity | null;
  findings: { id: string; severity: Severity; title: string; evidence: string; mitigation: string }[];
  /** Samples in the gradient as far as known. */
  samples: number;
  /** Samples whose label is known, groups counted by their size. */
  labels: number;
  /** Samples whose last-layer feature is known. */
  features: number;
  /** Inputs computed exactly, and those known for the most part. */
  exactInputs: number;
  closeInputs: number;
  /** Texts that were recovered token by token, uncertain ones too. Absent in reports of earlier versions. */
  texts?: number;
  /** Distinct tokens or items that embeddings give away. */
  tokens: number;
  kinds: Partial<Record<LabelKindName, number>>;
  /** Parts of the network that give something away: the head, embeddings, traps, layers that the inputs came through. */
  layers: string[];
  /** Against the truth, where the capture holds one. */
  truth: { labelsRight: number; of: number; medianPsnr: number | null } | null;
}

/** `done` is the sum of `leaking`, `estimated`, `nothing`, `notAssessed` and `mismatched`. */
export interface ProjectSummary {
  dumps: number;
  done: number;
  /** Audits that ended without a report. */
  failed: number;
  /** Gradients whose outcome is `leaks`, or `counts` where something confirms the counts; an unconfirmed estimate is no leak. */
  leaking: number;
  /** Gradients of which nothing but unconfirmed label counts is known. */
  estimated: number;
  /** Gradients in which the methods that apply found nothing. */
  nothing: number;
  /** Gradients that no method could judge; the entries say why. */
  notAssessed: number;
  /** Gradients that are not of their checkpoint. */
  mismatched: number;
  samples: number;
  labels: number;
  exactInputs: number;
  /** Inputs known for the most part. */
  closeInputs: number;
  /** Recovered samples by kind of label. */
  byKind: { kind: LabelKindName; samples: number }[];
  /** In how many dumps each part leaks, most first. */
  byLayer: { layer: string; dumps: number }[];
  /**
   * Per run and round that hold a judged gradient: `leakRate` is the share of the judged `gradients` that leak, one large
   * batch weighing no more than a small one.
   */
  overRounds: {
    run: string;
    rounds: { round: number; leakRate: number; leaking: number; gradients: number; exactInputs: number }[];
  }[];
  truth: { labelsRight: number; of: number; medianPsnr: number | null } | null;
}

/** What will be done, before it is done. */
export interface ProjectPlan {
  root: string;
  entries: ProjectEntry[];
  skipped: SkippedFile[];
}

export interface ProjectProgress {
  done: number;
  of: number;
  /** For people. */
  message: string;
}

export interface SkippedFile {
  path: string;
  reason: string;
  /** True for what is or may hold a gradient: that it was not audited is no clean result. Absent in reports of earlier versions. */
  isGradient?: boolean;
}
