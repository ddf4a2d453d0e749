import { isAbsolute, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Log, ReportingDescriptor, Result } from 'sarif';
import type { ProjectEntry, ProjectReport } from '../protocol/project-report.js';
import type { Severity } from '../protocol/report.js';
import { isOpen, openOf, standingOf, STANDING_WORDS, whyOpen } from '../words/outcome-words.js';
import { portable } from './discover.js';
import { visible } from '../words/visible.js';

/** A project's findings as SARIF 2.1.0 (OASIS), for code scanning. */

const LEVELS: Record<Severity, 'error' | 'warning' | 'note'> = {
  critical: 'error',
  high: 'error',
  medium: 'warning',
  low: 'note',
};
/** What code scanning sorts by. */
const SCORES: Record<Severity, string> = { critical: '9.0', high: '7.5', medium: '5.0', low: '2.0' };
const HELP = 'https://github.com/gradleak/gradleak/blob/main/docs/findings.md';

/** One result per finding; where the capture names its script, on that line, else on the dump. */
export function toSarif(report: ProjectReport): Log {
  const rules = new Map<string, ReportingDescriptor>();
  const results = report.entries.flatMap((entry): Result[] =>
    (entry.result?.findings ?? []).map(({ id, severity, title, evidence, mitigation }) => {
      rules.set(id, {
        id,
        shortDescription: { text: title },
        helpUri: `${HELP}#${id}`,
        properties: { 'security-severity': SCORES[severity], tags: ['privacy', 'gradient-leakage'] },
      });
      return {
        ruleId: id,
        level: LEVELS[severity],
        message: { text: `${title}. ${evidence} ${mitigation}` },
        locations: [locationOf(report, entry)],
        relatedLocations: [
          {
            id: 1,
            message: { text: 'the gradient' },
            physicalLocation: { artifactLocation: artifact(entry.gradients) },
          },
        ],
        partialFingerprints: { 'gradleak/v1': `${id}:${entry.gradients}` },
      };
    }),
  );
  return {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'GradLeak',
            version: report.tool.version,
            semanticVersion: report.tool.version,
            informationUri: 'https://github.com/gradleak/gradleak',
            rules: [...rules.values()],
          },
        },
        originalUriBaseIds: { ROOT: { uri: `${pathToFileURL(report.root).href}/` } },
        columnKind: 'utf16CodeUnits',
        invocations: [
          {
            executionSuccessful:
              report.status === 'complete' && openOf(report.summary) === 0 && unaudited(report).length === 0,
            toolExecutionNotifications: [
              ...report.entries.flatMap((entry) => {
                const standing = standingOf(entry);
                // Without results, code scanning shows a file as clean: what was not judged must be said here.
                return isOpen(standing)
                  ? [
                      {
                        level: 'warning' as const,
                        descriptor: { id: standing },
                        message: { text: `${STANDING_WORDS[standing]}: ${whyOpen(entry) ?? ''}` },
                        locations: [{ physicalLocation: { artifactLocation: artifact(entry.gradients) } }],
                      },
                    ]
                  : [];
              }),
              ...unaudited(report).map(({ path, reason }) => ({
                level: 'warning' as const,
                descriptor: { id: 'not-assessed' },
                message: { text: `${STANDING_WORDS['not-assessed']}: ${reason}` },
                locations: [{ physicalLocation: { artifactLocation: artifact(path) } }],
              })),
            ],
          },
        ],
        results,
      },
    ],
  };
}

function unaudited({ skipped }: ProjectReport): ProjectReport['skipped'] {
  return skipped.filter(({ isGradient }) => isGradient === true);
}

function locationOf(
  report: ProjectReport,
  { script, gradients }: ProjectEntry,
): NonNullable<Result['locations']>[number] {
  if (!script) {
    return { physicalLocation: { artifactLocation: artifact(gradients) } };
  }
  const within = relative(report.root, script.file);
  const isInside = within !== '' && !within.startsWith('..') && !isAbsolute(within);
  return {
    physicalLocation: {
      artifactLocation: isInside ? artifact(portable(within)) : { uri: pathToFileURL(script.file).href },
      region: { startLine: script.line },
    },
  };
}

function artifact(path: string): { uri: string; uriBaseId: string } {
  return { uri: path.split('/').map(encodeURIComponent).join('/'), uriBaseId: 'ROOT' };
}

/** The log as a file's text; names that files give things can do nothing where it is shown. */
export function renderSarif(report: ProjectReport): string {
  const shown = (_: string, value: unknown): unknown => (typeof value === 'string' ? visible(value) : value);
  return `${JSON.stringify(toSarif(report), shown, 1)}\n`;
}
