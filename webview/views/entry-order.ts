import type { ProjectEntry } from '../../src/protocol/project-report.js';
import { SEVERITIES } from '../../src/protocol/report.js';
import { STANDING_WORDS, isOpen, hasInputsOrTexts, standingOf } from '../../src/words/outcome-words.js';

/** Which entries of a project are shown, and in which order. */

export type EntryColumn = 'gradients' | 'severity' | 'labels' | 'inputs' | 'change';

export interface EntrySort {
  readonly by: EntryColumn;
  readonly descending: boolean;
}

const COLLATOR = new Intl.Collator('en', { numeric: true });

/** A sorted copy; among equals by name. */
export function sortedEntries(entries: readonly ProjectEntry[], { by, descending }: EntrySort): ProjectEntry[] {
  const byName = [...entries].sort((one, other) => COLLATOR.compare(one.gradients, other.gradients));
  if (by === 'gradients') {
    return descending ? byName.reverse() : byName;
  }
  const sign = descending ? -1 : 1;
  // Sorting is stable, so that equals stay in the order of their names.
  return byName.sort((one, other) => sign * (weightOf(one, by) - weightOf(other, by)));
}

/** Entries that hold every word, in path, severity, outcome or change. */
export function matchingEntries(entries: readonly ProjectEntry[], filter: string): readonly ProjectEntry[] {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  return words.length === 0
    ? entries
    : entries.filter((entry) => {
        const text =
          `${entry.gradients} ${entry.result?.severity ?? ''} ${STANDING_WORDS[standingOf(entry)]} ${entry.change}`.toLowerCase();
        return words.every((word) => text.includes(word));
      });
}

/** Entries whose audit recovered inputs or texts. */
export function recoveredEntries(entries: readonly ProjectEntry[]): ProjectEntry[] {
  return entries.filter(hasInputsOrTexts);
}

function weightOf(entry: ProjectEntry, by: Exclude<EntryColumn, 'gradients'>): number {
  const { result } = entry;
  switch (by) {
    case 'severity':
      return urgency(entry);
    case 'labels':
      return result ? result.labels / Math.max(result.samples, 1) : -1;
    case 'inputs':
      return result ? result.exactInputs + result.closeInputs / 1000 : -1;
    case 'change':
      return ['same', 'new', 'better', 'worse'].indexOf(entry.change);
  }
}

/** Findings by severity, then what was not judged, then what was and is calm. */
function urgency(entry: ProjectEntry): number {
  const { result } = entry;
  if (result?.severity) {
    return SEVERITIES.length - SEVERITIES.indexOf(result.severity) + 1;
  }
  return isOpen(standingOf(entry)) ? 1 : result ? 0 : -1;
}
