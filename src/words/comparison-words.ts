import {
  type Change,
  CHANGES,
  type ComparedAudit,
  type ComparedLeak,
  type Comparison,
  type ProjectComparison,
} from '../protocol/comparison.js';
import type { Severity } from '../protocol/report.js';
import { counted } from './count-words.js';

/** What two audits gave away beside each other, in the words of every surface. */

/** The two, as they are called where they are shown: A and B, or left and right. */
export type Names = readonly [a: string, b: string];

export function changeInWords(change: Change, [a, b]: Names): string {
  switch (change) {
    case 'new':
      return `new in ${b}`;
    case 'unassessed-a':
      return `in ${b}, not assessed in ${a}`;
    case 'worse':
      return `worse in ${b}`;
    case 'unassessed-b':
      return `not assessed in ${b}`;
    case 'same':
      return 'the same';
    case 'better':
      return `less in ${b}`;
    case 'gone':
      return `gone in ${b}`;
  }
}

/** Whether they are of one gradient, without which a difference says little of a defence. */
export function samenessInWords({ a, b, gradients, checkpoints }: Comparison): string {
  if (a.verdict === null || b.verdict === null) {
    return 'Only one of the two is there.';
  }
  const checkpoint =
    checkpoints === 'different'
      ? ' Their checkpoints differ too.'
      : checkpoints === 'same'
        ? ' The checkpoint is the same.'
        : '';
  switch (gradients) {
    case 'same':
      return checkpoints === 'different'
        ? 'Both audits are of the same gradient, with different checkpoints.'
        : 'Both audits are of the same gradient.';
    case 'different':
      return `These are two different gradients, and nothing says whether they are of the same samples: a difference may come from other samples as well as from a defence.${checkpoint}`;
    case 'unknown':
      return 'The reports do not say whether they are of the same gradient: a difference may come from other samples as well as from a defence.';
  }
}

/** One audit, behind its name. */
export function auditInWords({ standing, verdict, open }: ComparedAudit): string {
  return `${standing}. ${verdict === null ? (open ?? '') : verdict.sentence}${verdict !== null && open !== null && open !== verdict.sentence ? ` ${open}` : ''}`;
}

/** Leaks of which the same is to be said. */
export interface LeakGroup {
  readonly change: Change;
  readonly severity: Severity | null;
  /** "Label of class 3, class 5 and 2 more". */
  readonly what: string;
  /** How it was, and how it is; or why that is not known. */
  readonly sides: string;
}

const MOST_NAMED = 6;

/** In the order of the comparison. */
export function groupsOf({ leaks }: Pick<Comparison, 'leaks'>, names: Names): LeakGroup[] {
  const groups = new Map<string, ComparedLeak[]>();
  for (const leak of leaks) {
    const key = JSON.stringify([leak.change, leak.what, sidesInWords(leak, names), severityOf(leak)]);
    const own = groups.get(key) ?? [];
    own.push(leak);
    groups.set(key, own);
  }
  return [...groups.values()].flatMap((own) => {
    const [first] = own;
    return first
      ? [
          {
            change: first.change,
            severity: severityOf(first),
            what: `${first.what}${ofInWords(own)}`,
            sides: sidesInWords(first, names),
          },
        ]
      : [];
  });
}

/** As it is in B; where it is not there, as it was. */
function severityOf({ a, b }: ComparedLeak): Severity | null {
  return b.state === 'found' ? b.severity : a.severity;
}

function ofInWords(leaks: readonly ComparedLeak[]): string {
  const known = leaks.flatMap(({ of }) => of ?? []);
  if (known.length === 0) {
    return leaks.length > 1 ? ` of ${leaks.length} samples` : '';
  }
  const more = leaks.length - Math.min(known.length, MOST_NAMED);
  return ` of ${known.slice(0, MOST_NAMED).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

function sidesInWords({ change, a, b }: ComparedLeak, names: Names): string {
  const [one, other] = [`${names[0]}: ${inPassing(a.detail)}`, `${names[1]}: ${b.detail}`];
  const nothing = (own: string): string => `${own}not found by the methods that ran`;
  switch (change) {
    case 'same':
      return a.detail === b.detail ? b.detail : `${one}; ${other}`;
    case 'worse':
    case 'better':
    case 'unassessed-a':
    case 'unassessed-b':
      return `${one}; ${other}`;
    case 'new':
      return `${nothing(one)}; ${other}`;
    case 'gone':
      return `${one}; ${nothing(other)}`;
  }
}

/** A sentence as part of another. */
function inPassing(sentence: string): string {
  return sentence.replace(/\.$/, '');
}

/** How many changed how, the first of which needs a look most. */
export function changesInWords({ leaks }: Pick<Comparison, 'leaks'>, names: Names): string {
  const counts = CHANGES.flatMap((change) => {
    const { length } = leaks.filter((own) => own.change === change);
    return length === 0 ? [] : [`${length} ${changeInWords(change, names)}`];
  });
  return counts.length === 0 ? 'Neither was found to give anything away.' : `${counts.join('; ')}.`;
}

/** What nobody looked at in one of the two: a comparison that leaves this open is no clean result. */
export function openInWords({ a, b, onlyInA, onlyInB }: Comparison, names: Names): string[] {
  return [
    ...[a, b].flatMap(({ open }, at) =>
      open === null ? [] : [`No complete judgement in ${names[at] ?? ''}. ${open}`],
    ),
    ...onlyInA.map(({ title, why }) => `Not assessed in ${names[1]}: ${title}. ${why}`),
    ...onlyInB.map(({ title, why }) => `Not assessed in ${names[0]}: ${title}. ${why}`),
  ];
}

const MOST_GROUPS = 4;

/** The comparison in a few sentences, for a notification. */
export function comparisonInWords(comparison: Comparison, names: Names): string {
  const groups = groupsOf(comparison, names).filter(({ change }) => change !== 'same');
  const said = groups
    .slice(0, MOST_GROUPS)
    .map(({ what, change }) => `${what} (${changeInWords(change, names)})`)
    .join(', ');
  const rest = groups.length > MOST_GROUPS ? ` and ${groups.length - MOST_GROUPS} more` : '';
  const all = comparison.leaks.length;
  const changes =
    groups.length > 0
      ? `${said}${rest}.`
      : all > 0
        ? `Both give away the same: ${counted(all, 'leak')}.`
        : 'Neither was found to give anything away.';
  return [changes, samenessInWords(comparison), ...openInWords(comparison, names)].join(' ');
}

/** Two projects in a sentence. */
export function projectsInWords({ entries }: ProjectComparison, names: Names): string {
  const count = (changes: readonly Change[]): number =>
    entries.filter(({ comparison }) => comparison.leaks.some(({ change }) => changes.includes(change))).length;
  const parts = [
    [count(['new', 'unassessed-a', 'worse']), `with leaks that are new or worse in ${names[1]}`],
    [count(['unassessed-b']), `with leaks that were not assessed in ${names[1]}`],
    [count(['gone', 'better']), `with leaks that are gone or less in ${names[1]}`],
  ] as const;
  const said = parts.filter(([own]) => own > 0).map(([own, what]) => `${own} ${what}`);
  return `${counted(entries.length, 'gradient')}: ${said.length === 0 ? 'none differs' : said.join('; ')}.`;
}
