import type { ProjectEntry, ProjectReport } from '../protocol/project-report.js';

/** The report on a project for a terminal: one line per dump, then totals. */

const CHANGES: Record<ProjectEntry['change'], string> = { new: 'new', worse: 'worse', better: 'better', same: '' };

/** @param out folder that the report was written to */
export function renderProject({ root, entries, skipped, summary, status }: ProjectReport, out: string): string {
  const width = Math.min(Math.max(...entries.map(({ gradients }) => gradients.length), 8), 60);
  const lines = [
    `${root}: ${summary.dumps} dumps, ${summary.leaking} leak${status === 'cancelled' ? ' (stopped: run it again to go on)' : ''}`,
    '',
    ...entries.map((entry) => `${entry.gradients.padEnd(width)}  ${statusOf(entry)}`),
    ...(skipped.length > 0 ? ['', ...skipped.map(({ path, reason }) => `not audited: ${path}: ${reason}`)] : []),
    '',
    `labels of ${summary.labels} of ${summary.samples} samples, ${summary.exactInputs} inputs computed exactly`,
    ...summary.byKind.map(({ kind, samples }) => `  ${kind.padEnd(16)} ${samples}`),
    ...(summary.byLayer.length > 0 ? ['leaking parts'] : []),
    ...summary.byLayer.slice(0, 12).map(({ layer, dumps }) => `  ${layer.padEnd(32)} in ${dumps} of ${summary.done}`),
    ...(summary.truth
      ? [
          `against the truth: ${summary.truth.labelsRight} of ${summary.truth.of} labels right${summary.truth.medianPsnr === null ? '' : `, median PSNR ${summary.truth.medianPsnr.toFixed(1)} dB`}`,
        ]
      : []),
    '',
    `report.json, report.html and report.sarif are in ${out}`,
  ];
  return `${lines.join('\n')}\n`;
}

function statusOf({ status, result, problem, change }: ProjectEntry): string {
  if (status === 'failed') {
    return `could not be audited: ${problem ?? ''}`;
  }
  if (!result) {
    return 'not yet audited';
  }
  const inputs = result.exactInputs > 0 ? `, ${result.exactInputs} inputs` : '';
  const tokens = result.tokens > 0 ? `, ${result.tokens} tokens` : '';
  return `${(result.severity ?? 'nothing').padEnd(8)}  ${result.labels} of ${result.samples} labels${inputs}${tokens}  ${CHANGES[change]}`.trimEnd();
}
