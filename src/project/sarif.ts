import { homedir } from 'node:os';
import type { Log, ReportingDescriptor, Result } from 'sarif';
import type { ProjectEntry, ProjectReport } from '../protocol/project-report.js';
import type { Severity } from '../protocol/report.js';
import { isOpen, openOf, standingOf, STANDING_WORDS, whyOpen } from '../words/outcome-words.js';
import { withoutLocalPaths } from '../words/local-paths.js';
import { visible } from '../words/visible.js';
import { portable } from './discover.js';
import { pathWithin } from './within.js';

/**
 * A project's findings as SARIF 2.1.0 (OASIS), for code scanning. It is uploaded, so no path in it is absolute: what reads it
 * knows the project's root, and takes relative paths for paths from there.
 */

const LEVELS: Record<Severity, 'error' | 'warning' | 'note'> = {
  critical: 'error',
  high: 'error',
  medium: 'warning',
  low: 'note',
};
/** What code scanning sorts by. */
const SCORES: Record<Severity, string> = { critical: '9.0', high: '7.5', medium: '5.0', low: '2.0' };
const HELP = 'https://github.com/gradleak/gradleak/blob/main/docs/findings.md';

/** One result per finding; where the capture names a script of the project, on that line, else on the dump. */
export function toSarif(report: ProjectReport): Log {
  return withoutLocalPaths(logOf(report), [report.root], homedir());
}

function logOf(report: ProjectReport): Log {
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
        originalUriBaseIds: { ROOT: { description: { text: 'The folder that was audited.' } } },
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
  const within = script ? pathWithin(report.root, script.file) : undefined;
  return !script || within === undefined
    ? { physicalLocation: { artifactLocation: artifact(gradients) } }
    : {
        physicalLocation: {
          artifactLocation: artifact(portable(within)),
          region: { startLine: script.line },
        },
      };
}

function artifact(path: string): { uri: string; uriBaseId: string } {
  // Half a pair of UTF-16 cannot be encoded; as UTF-8 it becomes the sign for what is not known.
  const wellFormed = Buffer.from(path).toString();
  return { uri: wellFormed.split('/').map(encodeURIComponent).join('/'), uriBaseId: 'ROOT' };
}

/** The log as a file's text; names that files give things can do nothing where it is shown. */
export function renderSarif(report: ProjectReport): string {
  const shown = (_: string, value: unknown): unknown => (typeof value === 'string' ? visible(value) : value);
  return `${JSON.stringify(toSarif(report), shown, 1)}\n`;
}
