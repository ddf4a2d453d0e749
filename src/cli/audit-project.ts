import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { CancelledError, UnusableInputError } from '../protocol/errors.js';
import type { ProjectPlan, ProjectReport } from '../protocol/project-report.js';
import type { Report } from '../protocol/report.js';
import type { PlanParams } from '../protocol/runner-messages.js';
import type { EntryPreview } from '../protocol/summary-messages.js';
import { readImages, readStored } from '../audit/output.js';
import { removeOutput, writeOutput } from '../audit/output-folder.js';
import { upgradeReport } from '../audit/upgrade-report.js';
import { previewOf, previewsForPage, reportForPreview } from '../project/previews.js';
import { settingsKey } from '../project/settings-key.js';
import { ENTRIES_FOLDER, runProject } from '../project/run-project.js';
import { renderSarif } from '../project/sarif.js';
import { renderHtml, renderProjectHtml } from '../project/render-html.js';
import type { AuditSettings } from './audit-settings.js';
import { type Children, startChildren } from './children.js';
import { jobsAtATime } from './jobs-at-a-time.js';

/** `gradleak audit DIR` on a folder of many dumps: what "Audit Workspace" does, for terminals and CI. */

export interface ProjectOptions {
  readonly root: string;
  /** Folder of the report; `gradleak-report` in the root when undefined. */
  readonly out: string | undefined;
  readonly exclude: readonly string[];
  readonly includeIgnored: boolean;
  readonly jobs: number | undefined;
  /** Whether dumps that were audited before are audited again. */
  readonly fresh: boolean;
  /** Whether each dump's own page is written too. */
  readonly pages: boolean;
  readonly settings: AuditSettings;
}

export interface ProjectSurroundings {
  readonly progress: (message: string) => void;
  readonly cancelled: () => boolean;
}

const PRINTED_FILE = 'stderr.log';

/** Writes report.json, report.html and report.sarif. @throws UnusableInputError, CancelledError while the plan is made */
export async function auditProject(
  options: ProjectOptions,
  { progress, cancelled }: ProjectSurroundings,
): Promise<{ report: ProjectReport; out: string }> {
  const root = resolve(options.root);
  const out = resolve(options.out ?? join(root, 'gradleak-report'));
  const children = startChildren(cancelled);
  try {
    progress('Looking for dumps');
    const plan = await planned({ ...options, root }, children, cancelled);
    const report = await runProject({
      plan,
      out,
      settings: options.settings,
      fresh: options.fresh,
      concurrency: jobsAtATime(options.jobs, options.settings.reconstruction?.engine),
      auditOne: (request) => children.auditOne(request),
      progress: ({ done, of, message }) => {
        progress(`${done} of ${of}: ${message}`);
      },
      cancelled,
    });
    writeProjectPages(out, report, { pages: options.pages, force: options.settings.force === true });
    return { report, out };
  } finally {
    children.dispose();
    keepPrinted(out, children.printed);
  }
}

/** Which dumps to look for, and what tells that they are the same. */
export interface PlanAsked extends Pick<PlanParams, 'identity' | 'hashCache' | 'mostEntries'> {
  readonly root: string;
  readonly exclude: readonly string[];
  readonly includeIgnored: boolean;
  readonly settings: AuditSettings;
  /** Stands for them where results outlive the place of the project. */
  readonly settingsKey?: string;
}

/** @throws UnusableInputError where there is nothing to audit, CancelledError */
export async function planned(
  { root, exclude, includeIgnored, settings, settingsKey: settingsText, identity, hashCache, mostEntries }: PlanAsked,
  children: Pick<Children, 'plan'>,
  cancelled: () => boolean,
): Promise<ProjectPlan> {
  const plan = await children.plan({
    root,
    exclude: [...exclude],
    includeIgnored,
    settings:
      settingsText ??
      (await settingsKey(settings, root, () => {
        if (cancelled()) {
          throw new CancelledError();
        }
        return Promise.resolve();
      })),
    ...(identity === undefined ? {} : { identity }),
    ...(hashCache === undefined ? {} : { hashCache }),
    ...(mostEntries === undefined ? {} : { mostEntries }),
  });
  if (plan.entries.length === 0) {
    throw new UnusableInputError({
      code: 'missing-file',
      file: root,
      found: `no captured gradient with a checkpoint that fits it${plan.skipped.length > 0 ? ` (${plan.skipped[0]?.path ?? ''}: ${plan.skipped[0]?.reason ?? ''})` : ''}`,
      expected:
        'a folder that holds checkpoint.* (or a model as Hugging Face saves it) and gradient.*, or a project with such dumps in it',
      advice:
        'Capture with gradleak_capture.py, give two files with --checkpoint and --gradients, or look at ignored files too with --include-ignored.',
    });
  }
  return plan;
}

/** The report for people and for other tools, beside report.json. */
export function writeProjectPages(
  out: string,
  report: ProjectReport,
  { pages, force }: { pages: boolean; force: boolean },
): void {
  writeOutput(out, 'report.sarif', renderSarif(report), force);
  if (pages) {
    writePages(out, report, force);
  }
  const previews = previewsForPage(report, (id) => previewIn(join(out, ENTRIES_FOLDER, id), id));
  writeOutput(out, 'report.html', renderProjectHtml(report, previews, { hasPages: pages }), force);
}

/** The report of an entry; undefined where it is gone. */
function storedIn(folder: string): Report | undefined {
  return upgradeReport(readStored(folder));
}

function previewIn(folder: string, id: string): EntryPreview | undefined {
  const report = storedIn(folder);
  return report && previewOf(id, report, readImages(folder, reportForPreview(report)));
}

/** The page of every audit, which the project's page leads to. */
function writePages(out: string, { entries }: ProjectReport, force: boolean): void {
  for (const { id, result } of entries) {
    const folder = join(out, ENTRIES_FOLDER, id);
    const report = result ? storedIn(folder) : undefined;
    if (report) {
      writeOutput(folder, 'report.html', renderHtml(report, readImages(folder, report)), force);
    }
  }
}

/** What the children printed, for whoever looks into a crash; nothing is left of an earlier run. */
function keepPrinted(out: string, printed: readonly string[]): void {
  if (!existsSync(out)) {
    return;
  }
  removeOutput(out, PRINTED_FILE);
  if (printed.length > 0 && !existsSync(join(out, PRINTED_FILE))) {
    writeOutput(out, PRINTED_FILE, `${printed.join('\n')}\n`, false);
  }
}
