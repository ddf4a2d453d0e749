import { CancelledError } from '../protocol/errors.js';
import type { AuditRequest } from '../protocol/audit-request.js';
import { SEVERITIES, type Severity } from '../protocol/report.js';
import { type AuditPaths, isCapture, pathsInFolder } from '../facts/inputs.js';
import { readImages } from '../audit/output.js';
import { writeOutput } from '../audit/output-folder.js';
import { mismatchError, runAudit } from '../audit/run-audit.js';
import { renderHtml } from '../project/render-html.js';
import { badArguments, oneOf, parse, textOf, wholeOption } from './arguments.js';
import { auditProject } from './audit-project.js';
import { SETTINGS_OPTIONS, projectSettingsOf, settingsOf } from './audit-settings.js';
import { exitCode, factsOfProject, factsOfReport } from './exit-code.js';
import { renderError } from './render-error.js';
import { renderNotAssessed, renderProject } from './render-project.js';
import { renderReport } from './render-text.js';
import { auditShard } from './shard-command.js';
import { type CliSurroundings, hooksOf } from './surroundings.js';

/** `gradleak audit`: of one dump, of a project, or of a share of a manifest. */

const OPTIONS = {
  ...SETTINGS_OPTIONS,
  checkpoint: { type: 'string' },
  gradients: { type: 'string' },
  truth: { type: 'string' },
  out: { type: 'string' },
  html: { type: 'boolean', default: false },
  format: { type: 'string', default: 'text' },
  'fail-on': { type: 'string' },
  trace: { type: 'string' },
  jobs: { type: 'string' },
  exclude: { type: 'string' },
  'include-ignored': { type: 'boolean', default: false },
  fresh: { type: 'boolean', default: false },
  manifest: { type: 'string' },
  shard: { type: 'string' },
  root: { type: 'string' },
  retry: { type: 'boolean', default: false },
} as const;

export async function audit(args: readonly string[], surroundings: CliSurroundings): Promise<number> {
  const { values, positionals } = parse(args, OPTIONS);
  const text = textOf(values);
  const [folder] = positionals;
  if (values.manifest !== undefined) {
    return auditShard(args, surroundings);
  }
  for (const name of ['shard', 'root', 'retry'] as const) {
    if (values[name] !== undefined && values[name] !== false) {
      throw badArguments(`--${name} without --manifest`, 'a manifest that "gradleak plan" wrote');
    }
  }
  const isProject = folder !== undefined && positionals.length === 1 && !isCapture(folder);
  const common: Common = {
    format: oneOf('--format', text('format'), ['text', 'json']) ?? 'text',
    failOn: oneOf('--fail-on', text('fail-on'), SEVERITIES),
    text,
    values,
    surroundings,
  };
  return isProject ? auditMany(folder, common) : auditOne(positionals, common);
}

interface Common {
  readonly format: 'text' | 'json';
  readonly failOn: Severity | undefined;
  readonly text: (name: string) => string | undefined;
  readonly values: Record<string, unknown>;
  readonly surroundings: CliSurroundings;
}

async function auditMany(root: string, { format, failOn, text, values, surroundings }: Common): Promise<number> {
  if (text('trace') !== undefined) {
    throw badArguments('--trace with a folder of many dumps', 'the folder of one dump to trace');
  }
  surroundings.endsItself?.();
  const { report, out } = await auditProject(
    {
      root,
      out: text('out'),
      exclude: text('exclude')?.split(',') ?? [],
      includeIgnored: values['include-ignored'] === true,
      jobs: wholeOption(text, 'jobs', 1),
      fresh: values.fresh === true,
      pages: values.html === true,
      settings: projectSettingsOf(text, values.force === true),
    },
    surroundings,
  );
  surroundings.print(format === 'json' ? `${JSON.stringify(report, undefined, 1)}\n` : renderProject(report, out));
  if (report.status === 'cancelled') {
    throw new CancelledError(true);
  }
  const open = renderNotAssessed(report);
  if (open !== undefined) {
    surroundings.printError(open);
  }
  return exitCode(factsOfProject(report, failOn));
}

async function auditOne(
  positionals: readonly string[],
  { format, failOn, text, values, surroundings }: Common,
): Promise<number> {
  const [out, truth, trace] = [text('out'), text('truth'), text('trace')];
  if (values.html === true && out === undefined) {
    throw badArguments('--html without --out', 'a folder to write report.html to');
  }
  const settings = settingsOf(text, values.force === true);
  const request: AuditRequest = {
    ...auditPaths(text('checkpoint'), text('gradients'), positionals),
    ...settings,
    ...(truth === undefined ? {} : { truth }),
    ...(out === undefined ? {} : { out }),
    ...(trace === undefined ? {} : { trace }),
  };
  surroundings.reading?.({ path: request.gradients, what: 'dump' });
  const { report } = await runAudit(request, hooksOf(surroundings));
  if (values.html === true && out !== undefined) {
    writeOutput(out, 'report.html', renderHtml(report, readImages(out, report)), settings.force === true);
  }
  surroundings.print(
    format === 'json' ? `${JSON.stringify(report, undefined, 1)}\n` : renderReport(report, surroundings.columns),
  );
  if (report.cancelled === true) {
    throw new CancelledError(true);
  }
  const mismatch = mismatchError(report);
  if (mismatch) {
    surroundings.printError(renderError(mismatch));
  } else if (report.verdict.outcome === 'not-assessed') {
    surroundings.printError(`gradleak: not assessed: ${report.verdict.sentence}\n`);
  }
  return exitCode(factsOfReport(report, failOn));
}

/** Files that are named, or those in a folder. @throws UnusableInputError where neither is given */
export function auditPaths(
  checkpoint: string | undefined,
  gradients: string | undefined,
  positionals: readonly string[],
): AuditPaths {
  const [folder] = positionals;
  if (folder !== undefined && positionals.length === 1 && checkpoint === undefined && gradients === undefined) {
    return pathsInFolder(folder);
  }
  if (gradients !== undefined && folder === undefined) {
    return { ...(checkpoint === undefined ? {} : { checkpoint }), gradients };
  }
  throw badArguments(
    positionals.length > 1 ? `${positionals.length} folders` : 'no gradient',
    'one folder, or --gradients G with --checkpoint C',
  );
}
