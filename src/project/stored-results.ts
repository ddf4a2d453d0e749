import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { REPORT_FILE, readReport, readStored } from '../audit/output.js';
import { upgradeReport } from '../audit/upgrade-report.js';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import type { ProjectReport } from '../protocol/project-report.js';
import type { Report } from '../protocol/report.js';
import { ENTRIES_FOLDER, projectOf } from './run-project.js';

/** What an audit, or the audit of a project, left on disk. */
export type StoredResults =
  | { readonly of: 'gradient'; readonly report: Report }
  | {
      readonly of: 'project';
      readonly report: ProjectReport;
      /** The report of an entry, undefined where it is not there. */
      readonly entry: (id: string) => Report | undefined;
    };

/** @param path the folder of the results, or the report in it @throws UnusableInputError where there is no report of ours */
export function readResults(path: string): StoredResults {
  const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  const [folder, file] = isFolder ? [path, join(path, REPORT_FILE)] : [dirname(path), path];
  const stored = read(file);
  const report = upgradeReport(stored);
  if (report) {
    return { of: 'gradient', report };
  }
  const project = projectOf(stored);
  if (project) {
    return { of: 'project', report: project, entry: (id) => entryIn(folder, id) };
  }
  throw noReport('malformed-file', file, 'no report that this version can read');
}

function read(file: string): unknown {
  try {
    return readReport(file);
  } catch (error) {
    const isMissing = statSync(file, { throwIfNoEntry: false }) === undefined;
    throw noReport(isMissing ? 'missing-file' : 'malformed-file', file, isMissing ? 'nothing' : messageOf(error));
  }
}

function noReport(code: 'missing-file' | 'malformed-file', file: string, found: string): UnusableInputError {
  return new UnusableInputError({
    code,
    file,
    found,
    expected: 'the report of an audit or of a project',
    advice: 'Give the folder that an audit wrote its results to.',
  });
}

/** The id comes from a file, so it must not lead elsewhere. */
function entryIn(folder: string, id: string): Report | undefined {
  return /^[0-9a-f]{1,64}$/.test(id) ? upgradeReport(readStored(join(folder, ENTRIES_FOLDER, id))) : undefined;
}
