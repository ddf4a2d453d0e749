import {
  CHANGES,
  type Change,
  type ComparedAudit,
  type ComparedLeak,
  type ComparedMethod,
  type Comparison,
  type LeakSide,
  type ProjectComparison,
} from '../protocol/comparison.js';
import type { ProjectEntry, ProjectReport } from '../protocol/project-report.js';
import { type HashedFile, type Report, SEVERITIES, type Severity } from '../protocol/report.js';
import { STANDING_WORDS, isOpen, standingOf, standingOfReport } from '../words/outcome-words.js';
import { type LeakTrace, tracesOf, whyUnfinished } from './leak-traces.js';

/** What leaked in one audit and in another. Nothing is called gone that nobody looked for. */

/** An audit that is not there, and why. */
interface NoAudit {
  readonly gradients: string;
  readonly why: string;
  readonly standing: string;
}

type Side = Report | NoAudit;

/** @param a before, or the earlier round */
export function compareReports(a: Report, b: Report): Comparison {
  return compareSides(a, b);
}

function compareSides(a: Side, b: Side): Comparison {
  return {
    schemaVersion: 1,
    a: auditOf(a),
    b: auditOf(b),
    gradients: sameness(a, b, 'gradient'),
    checkpoints: sameness(a, b, 'checkpoint'),
    leaks: comparedLeaks(a, b),
    onlyInA: methodsOfOne(a, b),
    onlyInB: methodsOfOne(b, a),
  };
}

function isReport(side: Side): side is Report {
  return 'verdict' in side;
}

function auditOf(side: Side): ComparedAudit {
  if (!isReport(side)) {
    const { gradients, standing, why } = side;
    return { gradients, finished: null, verdict: null, standing, open: why };
  }
  const { inputs, finished = null, verdict } = side;
  const standing = standingOfReport(side);
  return {
    gradients: inputs.gradients.path,
    finished,
    verdict,
    standing: STANDING_WORDS[standing],
    open: whyUnfinished(side) ?? (isOpen(standing) ? verdict.sentence : null),
  };
}

function sameness(a: Side, b: Side, role: HashedFile['role']): Comparison['gradients'] {
  const hashes = (side: Side): string | undefined =>
    isReport(side)
      ? side.inputs.files &&
        [
          ...side.inputs.files.filter((file) => file.role === role).map(({ sha256 }) => sha256),
          ...(side.inputs.objects ?? []).filter((file) => file.role === role).map(({ identity }) => identity),
        ]
          .sort()
          .join()
      : undefined;
  const [one, other] = [hashes(a), hashes(b)];
  return one === undefined || other === undefined ? 'unknown' : one === other ? 'same' : 'different';
}

function comparedLeaks(a: Side, b: Side): ComparedLeak[] {
  const [left, right] = [a, b].map((side) => (isReport(side) ? tracesOf(side) : [])) as [LeakTrace[], LeakTrace[]];
  const kinds = [...new Set([...left, ...right].map(({ kind }) => kind))];
  return kinds
    .flatMap((kind) =>
      paired(
        left.filter((own) => own.kind === kind),
        right.filter((own) => own.kind === kind),
      ),
    )
    .map((pair) => comparedLeak(pair, a, b))
    .sort((one, other) => CHANGES.indexOf(one.change) - CHANGES.indexOf(other.change) || graver(one, other));
}

/** A leak in both audits or in one of them; `shown` is B's where there is one. */
interface Pair {
  readonly one?: LeakTrace;
  readonly other?: LeakTrace;
  readonly shown: LeakTrace;
}

/** First those of one key, what is known best first; then those without a key with any that is left. */
function paired(left: readonly LeakTrace[], right: readonly LeakTrace[]): Pair[] {
  const [ones, others] = [byKey(left), byKey(right)];
  const pairs: Pair[] = [];
  const open: { left: LeakTrace[]; right: LeakTrace[] } = { left: [], right: [] };
  for (const key of new Set([...ones.keys(), ...others.keys()])) {
    const rest = pairInOrder(ones.get(key) ?? [], others.get(key) ?? [], pairs);
    open.left.push(...rest.left);
    open.right.push(...rest.right);
  }
  const isNameless = ({ key }: LeakTrace): boolean => key === null;
  // Of one key, only one side has any left.
  const [nameless, named] = open.left.some(isNameless)
    ? [
        { ...open, left: open.left.filter(isNameless) },
        { left: open.left.filter((own) => !isNameless(own)), right: [] },
      ]
    : [
        { ...open, right: open.right.filter(isNameless) },
        { left: [], right: open.right.filter((own) => !isNameless(own)) },
      ];
  const rest = pairInOrder(nameless.left, nameless.right, pairs);
  return [
    ...pairs,
    ...[...rest.left, ...named.left].map((one) => ({ one, shown: one })),
    ...[...rest.right, ...named.right].map((other) => ({ other, shown: other })),
  ];
}

function byKey(traces: readonly LeakTrace[]): Map<string | null, LeakTrace[]> {
  const groups = new Map<string | null, LeakTrace[]>();
  for (const trace of [...traces].sort(byLevel)) {
    const own = groups.get(trace.key) ?? [];
    own.push(trace);
    groups.set(trace.key, own);
  }
  return groups;
}

/** @returns what has no counterpart */
function pairInOrder(
  left: readonly LeakTrace[],
  right: readonly LeakTrace[],
  pairs: Pair[],
): { left: readonly LeakTrace[]; right: readonly LeakTrace[] } {
  left.forEach((one, at) => {
    const other = right[at];
    if (other) {
      pairs.push({ one, other, shown: other });
    }
  });
  return { left: left.slice(right.length), right: right.slice(left.length) };
}

/** Rank of a severity, larger where it is worse. */
function gravity(severity: Severity | null): number {
  return severity === null ? 0 : SEVERITIES.length - SEVERITIES.indexOf(severity);
}

/** Below 0 where the first is known better. */
function byLevel(one: LeakTrace, other: LeakTrace): number {
  const own = [gravity(one.severity), ...one.level];
  const others = [gravity(other.severity), ...other.level];
  const at = own.findIndex((value, index) => value !== others[index]);
  return at < 0 ? 0 : (others[at] ?? 0) - (own[at] ?? 0);
}

function graver(one: ComparedLeak, other: ComparedLeak): number {
  const worst = ({ a, b }: ComparedLeak): number => Math.max(gravity(a.severity), gravity(b.severity));
  return worst(other) - worst(one);
}

function comparedLeak({ one, other, shown }: Pair, a: Side, b: Side): ComparedLeak {
  const sides = { a: sideOf(one, other, a), b: sideOf(other, one, b) };
  return {
    what: shown.what,
    of: shown.of ?? one?.of ?? null,
    change: changeOf(one, other, sides.a, sides.b),
    ...sides,
  };
}

/** @param own as this audit found it @param other as the other one did, which tells who should have */
function sideOf(own: LeakTrace | undefined, other: LeakTrace | undefined, side: Side): LeakSide {
  if (own) {
    return { state: 'found', severity: own.severity, detail: own.detail };
  }
  const why = isReport(side) ? other?.unassessedIn(side) : side.why;
  return why === undefined
    ? { state: 'nothing', severity: null, detail: '' }
    : { state: 'not-assessed', severity: null, detail: why };
}

function changeOf(one: LeakTrace | undefined, other: LeakTrace | undefined, a: LeakSide, b: LeakSide): Change {
  if (!one) {
    return a.state === 'not-assessed' ? 'unassessed-a' : 'new';
  }
  if (!other) {
    return b.state === 'not-assessed' ? 'unassessed-b' : 'gone';
  }
  const order = byLevel(one, other);
  return order === 0 ? 'same' : order < 0 ? 'better' : 'worse';
}

/** Methods that ran in one audit, and in the other not though it was done. */
function methodsOfOne(one: Side, other: Side): ComparedMethod[] {
  if (!isReport(one) || !isReport(other) || !one.methods || !other.methods) {
    return [];
  }
  const ran = one.methods.filter(({ outcome }) => outcome !== 'not-applicable');
  const ofAll = other.methods.find(({ id }) => id === 'all');
  return ran.flatMap(({ id, title }) => {
    const row = other.methods?.find((own) => own.id === id) ?? ofAll;
    return row?.outcome === 'not-applicable' ? [{ title, why: row.detail }] : [];
  });
}

/**
 * Two projects, the gradients of one path with each other; one that is in one project alone was not assessed in the other.
 *
 * @param reportOf the report of an entry, undefined where it is not there
 */
export function compareProjects(
  a: ProjectReport,
  b: ProjectReport,
  reportOf: (side: 'a' | 'b', id: string) => Report | undefined,
): ProjectComparison {
  const [left, right] = [entriesByPath(a), entriesByPath(b)];
  const sideOfPath = (side: 'a' | 'b', gradients: string): Side => {
    const entry = (side === 'a' ? left : right).get(gradients);
    const report = entry?.result ? reportOf(side, entry.id) : undefined;
    return report
      ? { ...report, inputs: { ...report.inputs, gradients: { ...report.inputs.gradients, path: gradients } } }
      : missing(gradients, entry);
  };
  return {
    schemaVersion: 1,
    a: { root: a.root, finished: a.finished },
    b: { root: b.root, finished: b.finished },
    entries: [...new Set([...left.keys(), ...right.keys()])].map((gradients) => ({
      gradients,
      comparison: compareSides(sideOfPath('a', gradients), sideOfPath('b', gradients)),
    })),
  };
}

/** The first of each path. */
function entriesByPath({ entries }: ProjectReport): Map<string, ProjectEntry> {
  const byPath = new Map<string, ProjectEntry>();
  for (const entry of entries) {
    if (!byPath.has(entry.gradients)) {
      byPath.set(entry.gradients, entry);
    }
  }
  return byPath;
}

function missing(gradients: string, entry: ProjectEntry | undefined): NoAudit {
  if (!entry) {
    return { gradients, standing: 'Not in this project', why: 'There is no audit of this gradient.' };
  }
  const standing = STANDING_WORDS[standingOf(entry)];
  return {
    gradients,
    standing,
    why: entry.result
      ? 'The report of this audit is not beside the project’s.'
      : (entry.problem ?? 'It was not audited yet.'),
  };
}
