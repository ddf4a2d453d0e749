import type { EntryResult, ProjectEntry, ProjectReport } from '../protocol/project-report.js';
import { counted } from '../words/count-words.js';
import { STANDING_WORDS, openOf, projectInWords, samplesInWords, standingOf } from '../words/outcome-words.js';
import { decibels } from '../words/truth-words.js';

/** The report on a project for a terminal: one line per dump, then totals. */

const CHANGES: Record<ProjectEntry['change'], string> = { new: 'new', worse: 'worse', better: 'better', same: '' };

/**
 * @param out folder that the report was written to
 * @param unfinished what is said where not every dump was audited
 */
export function renderProject(
  { root, entries, skipped, summary, status }: ProjectReport,
  out: string,
  unfinished = 'Stopped: run it again to go on.',
): string {
  const width = Math.min(Math.max(...entries.map(({ gradients }) => gradients.length), 8), 60);
  const lines = [
    `${root}: ${projectInWords(summary)}${status === 'cancelled' ? ` ${unfinished}` : ''}`,
    '',
    ...entries.map((entry) => `${entry.gradients.padEnd(width)}  ${statusOf(entry)}`),
    ...(skipped.length > 0 ? ['', ...skipped.map(({ path, reason }) => `not audited: ${path}: ${reason}`)] : []),
    '',
    samplesInWords(summary),
    ...summary.byKind.map(({ kind, samples }) => `  ${kind.padEnd(16)} ${samples}`),
    ...(summary.byLayer.length > 0 ? ['leaking parts'] : []),
    ...summary.byLayer.slice(0, 12).map(({ layer, dumps }) => `  ${layer.padEnd(32)} in ${dumps} of ${summary.done}`),
    ...(summary.truth
      ? [
          `against the truth: ${summary.truth.labelsRight} of ${summary.truth.of} labels right${summary.truth.medianPsnr === null ? '' : `, median PSNR ${decibels(summary.truth.medianPsnr)}`}`,
        ]
      : []),
    '',
    `report.json, report.html and report.sarif are in ${out}`,
  ];
  return `${lines.join('\n')}\n`;
}

function statusOf(entry: ProjectEntry): string {
  const { result, problem, change } = entry;
  const standing = standingOf(entry);
  const word = STANDING_WORDS[standing].toLowerCase();
  // A finding, such as a file that runs code, stands whatever became of the rest.
  const worst = result?.severity ? `${result.severity}, ` : '';
  switch (standing) {
    case 'failed':
      return `${word}: ${problem ?? ''}`;
    case 'waiting':
      return word;
    case 'not-assessed':
    case 'mismatch':
      return `${worst}${word}: ${result?.sentence ?? ''}`;
    case 'leaks':
    case 'estimate':
    case 'nothing':
      return `${worst}${word}${result ? amounts(result) : ''}  ${CHANGES[change]}`.trimEnd();
  }
}

function amounts({ labels, samples, counts, exactInputs, tokens, sentence }: EntryResult): string {
  const parts = [
    counts && labels === 0 ? `label counts of ${counts.classes} of ${counts.of} classes` : '',
    labels > 0 ? `${labels} of ${samples} labels` : '',
    exactInputs > 0 ? counted(exactInputs, 'input') : '',
    tokens > 0 ? counted(tokens, 'token') : '',
  ].filter(Boolean);
  // What is none of these, such as the classes of a client, is in the sentence alone.
  return `: ${parts.length > 0 ? parts.join(', ') : sentence}`;
}

/** Of gradients that nobody could judge, for whoever reads no more than errors; undefined where there are none. */
export function renderNotAssessed({ skipped, entries, summary }: ProjectReport): string | undefined {
  const left = skipped.filter(({ isGradient }) => isGradient === true).length;
  const pending = entries.filter(({ status }) => status === 'pending').length;
  const open = openOf(summary) + left + pending;
  const waiting = pending > 0 ? `, ${pending} of which no share has audited yet` : '';
  return open > 0 ? `gradleak: not assessed: ${open} of ${summary.dumps + left} gradients${waiting}\n` : undefined;
}
