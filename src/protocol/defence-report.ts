import type { PictureDetail, TextsDetail } from './detail.js';
import type { Report, UpdateKind } from './report.js';

/**
 * What would stop the leaks of one update: `defence.json`, beside the `report.json` of its audit. `media/defence.schema.json`
 * is generated from these types.
 *
 * Everything in it is about this update and the methods of this version. What is left at a level is measured on an attacker's
 * best guess, certain or not, against what was found undefended; "stopped" says that these methods do no better than that,
 * never that an update is safe. Every measured number is finite; null stands where there is none.
 */
export interface DefenceReport {
  schemaVersion: 1;
  tool: { name: 'gradleak'; version: string };
  /** `quick` halves between levels, `thorough` tries every one. */
  effort: DefenceEffort;
  /** `stopped`: by the user; `out-of-time`: some levels were not tried. What was found until then is here. */
  status: 'complete' | 'stopped' | 'out-of-time';
  /** When it ended, ISO 8601. */
  finished: string;
  seconds: number;
  inputs: { checkpoint: string | null; gradients: string };
  update: DefendedUpdate;
  /** Of the audit without a defence. */
  outcome: Report['verdict']['outcome'];
  /** One sentence on the whole: what it takes, or that there was nothing to follow. */
  sentence: string;
  /** What was followed; empty where the undefended audit found nothing of a sample for certain. */
  leaks: FollowedLeak[];
  /** What the undefended audit told without being certain: no leak, and it has no curve. */
  notFollowed: NotFollowed[];
  /** What an attacker could try that was not tried here, one sentence each. */
  remarks: string[];
  /** One per defence, in the order in which they are shown. */
  curves: DefenceCurve[];
  /** What was asked for with `--target`; absent without. */
  target?: DefenceTarget;
}

export interface NotFollowed {
  title: string;
  why: string;
  /** What would measure it, null where nothing here does. */
  measure: LeakMeasure['id'] | null;
}

export const DEFENCE_EFFORTS = ['quick', 'thorough'] as const;
export type DefenceEffort = (typeof DEFENCE_EFFORTS)[number];

export interface DefendedUpdate {
  kind: UpdateKind;
  /** Numbers that a defence changes: those of every floating-point tensor. */
  numbers: Count;
  /** Their Euclidean norm. */
  norm: number;
}

/** How much of a leak is left. */
export interface LeakMeasure {
  id: 'label' | 'feature' | 'psnr' | 'tokens' | 'texts';
  /** "Told, share of draws", "PSNR": title of the axis. */
  title: string;
  /** "dB", or empty for a share or a relative error. */
  unit: string;
  /** Whether a higher number means that more is left; a feature's error is the one where it does not. */
  moreIsWorse: boolean;
  /** Ends of the axis: `from` is nothing left, `to` everything. */
  from: number;
  to: number;
}

export interface FollowedLeak {
  /** Unique within the report, such as "input-0". */
  id: string;
  /** "Label of sample 1: class 3". */
  title: string;
  /** Id of the method that told it undefended. */
  method: string;
  /** Index of the sample in `report.json`, null for what belongs to the whole update. */
  sample: Count | null;
  measure: LeakMeasure;
  /** What the measure is without a defence: by its own truth everything is left. */
  undefended: number;
  /** It counts as a leak while what is left is on the leak's side of this. */
  limit: number;
  /** What guessing without the update gives, null where that is not known. */
  chance: number | null;
  /** How it looks without a defence, where it can be looked at. */
  shown: LeftPicture | null;
}

export interface DefenceCurve {
  /** Such as "gaussian-noise". */
  id: string;
  title: string;
  /** What it does, one sentence, with what its levels are. */
  explanation: string;
  /** Of the level's value, such as "noise against the update's norm"; empty for levels that are names. */
  unit: string;
  /** Of the level's value. `names`: levels are choices beside each other; no line is drawn between them. */
  scale: 'log' | 'linear' | 'names';
  /** Whether a later level takes away what an earlier one does and more, so that it never helps an attacker. */
  isMonotone: boolean;
  /** Every level there is, from the weakest on; values rise or fall. Those without a point were not tried. */
  levels: DefenceLevel[];
  /** In the order of the levels. */
  points: DefencePoint[];
  /** One per leak that was followed, in that order. */
  knees: Knee[];
  /** Why it was not tried at all, one sentence; null where it was. */
  why: string | null;
}

export interface DefenceLevel {
  value: number;
  /** "0.03 of the norm", "8 bits", "without the head". */
  name: string;
  /** Other words for the same level, such as the noise multiplier at a clip norm; null where there are none. */
  also: string | null;
  /** To copy into the training code; empty where no setting says the same. */
  settings: DefenceSetting[];
  /** What the level promises by itself, whatever attack comes: with epsilon, delta, unit and adjacency. Empty where it promises nothing. */
  privacy: string[];
}

/** What was measured at one level. */
export interface DefencePoint {
  /** Index among the curve's levels. */
  level: Count;
  left: LeftOver[];
}

export interface LeftOver {
  /** Id of the leak. */
  leak: string;
  /** In the leak's measure, of the best guess; null where no method gave one. */
  left: number | null;
  /**
   * `leaks`: what is left still counts as a leak; `stopped`: the best guess of these methods no longer does; `not-found`: no
   * method could run on the defended update, which does not mean that it is hidden; `untold`: not tried to its end.
   */
  standing: 'leaks' | 'stopped' | 'not-found' | 'untold';
  /** What the guess came from, or why there is none; one sentence. */
  detail: string;
  /** The draws of the defence that `left` is the mean of; 1 for what is not random. */
  draws: Count;
  /** The guess itself, where it can be looked at. */
  shown: LeftPicture | null;
}

/** A picture in a file beside the report, or texts. */
export type LeftPicture = PictureDetail | TextsDetail;

/** Where a defence stops a leak. */
export interface Knee {
  leak: string;
  /** Index of the lowest tried level from which on it no longer leaks; null where no tried level stops it. */
  level: Count | null;
  /** Highest tried level below at which it still leaks; null where the lowest one already stops it. */
  below: Count | null;
  /** What stands at the level: the best guess is worse, or no method could run; null where nothing stops it. */
  by: 'stopped' | 'not-found' | null;
  /** False where levels between the two were not tried, or the lowest or highest level was not. */
  isSettled: boolean;
  /** "Stopped from 0.03 of the norm on", "Not stopped by any level that was tried". */
  sentence: string;
}

/** Limits that a user asked for; a leak without one keeps its own. */
export interface DefenceTarget {
  asked: Partial<Record<LeakMeasure['id'], number>>;
  /** That of the defence which does best. */
  outcome: TargetOutcome;
  /** What was asked that could not be judged, or only by another limit; one sentence each. */
  remarks: string[];
  /** One per curve, in that order. */
  met: TargetMet[];
}

/**
 * `met`: the best guess of every leak that the target speaks of is within its limit; `unknown`: where a leak is no longer
 * found, was not tried to its end, or was not followed at all, since that does not say that it is hidden.
 */
export type TargetOutcome = 'met' | 'not-met' | 'unknown';

export interface TargetMet {
  /** Id of the curve. */
  curve: string;
  outcome: TargetOutcome;
  /** Index of the lowest tried level at which, and above which, the target is met; null where it is not. */
  level: Count | null;
  sentence: string;
}

export interface DefenceSetting {
  /** "Opacus", "Flower", "TensorFlow Privacy". */
  library: string;
  /** One sentence: what it is of, and where it differs from what was tried. */
  note: string;
  /** Lines of Python. */
  code: string;
}

/** @asType integer @minimum 0 */
type Count = number;

/** In the folder of the audit. */
export const DEFENCE_FILE = 'defence.json';
