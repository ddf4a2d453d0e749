import type { ProjectProgress, ProjectReport } from '../protocol/project-report.js';
import { STANDING_WORDS, openOf, projectInWords } from '../words/outcome-words.js';
import { baseName } from '../words/report-words.js';
import { visible, visibleInList } from '../words/visible.js';
import type { StoredAudit } from './audit-store.js';
import { iconNameOf } from './icon-names.js';
import { COMMANDS } from './ids.js';
import type { RunningAudit } from './running-audits.js';

/** What the status bar says of audits: how far those are that run, else how the last one came out. */

export interface AuditState {
  /** Newest first. */
  readonly running: readonly Pick<RunningAudit, 'id' | 'gradients' | 'progress'>[];
  readonly projectProgress: ProjectProgress | null;
  readonly last: Pick<StoredAudit, 'id' | 'made' | 'gradients' | 'standing' | 'severity' | 'sentence'> | undefined;
  readonly project: Pick<ProjectReport, 'finished' | 'summary' | 'status'> | undefined;
}

export interface StatusWords {
  readonly text: string;
  readonly tooltip: string;
  readonly command: { readonly title: string; readonly command: string; readonly arguments: readonly string[] };
}

/** Undefined before the first audit. */
export function statusOf({ running, projectProgress, last, project }: AuditState): StatusWords | undefined {
  const [first, ...others] = running;
  if (first) {
    const name = baseName(first.gradients);
    const share = `${Math.round(100 * first.progress.fraction)} %`;
    return {
      text: `$(loading~spin) GradLeak: ${share} ${visibleInList(name)}${others.length > 0 ? ` and ${others.length} more` : ''}`,
      tooltip: visible(`Auditing ${first.gradients}: ${first.progress.message}`),
      command: { title: 'Show Audit', command: COMMANDS.showAudit, arguments: [first.id] },
    };
  }
  if (projectProgress) {
    const { done, of, message } = projectProgress;
    return {
      text: `$(loading~spin) GradLeak: ${done} of ${of}`,
      tooltip: visible(`Auditing the workspace: ${message}`),
      command: { title: 'Show Summary', command: COMMANDS.showSummary, arguments: [] },
    };
  }
  if (project && Date.parse(project.finished) > (last?.made ?? 0)) {
    return ofProject(project);
  }
  return last && ofAudit(last);
}

function ofProject({ summary, status }: NonNullable<AuditState['project']>): StatusWords {
  const isOpen = openOf(summary) > 0 || status === 'cancelled';
  return {
    text: `$(${summary.leaking > 0 ? 'error' : isOpen ? 'question' : 'pass'}) GradLeak: ${summary.leaking} of ${summary.dumps} leak`,
    tooltip: visible(`Last audit, of the workspace: ${projectInWords(summary)}`),
    command: { title: 'Show Summary', command: COMMANDS.showSummary, arguments: [] },
  };
}

function ofAudit({ id, gradients, standing, severity, sentence }: NonNullable<AuditState['last']>): StatusWords {
  return {
    text: `$(${iconNameOf(standing, severity)}) GradLeak: ${STANDING_WORDS[standing]}`,
    tooltip: visible(`Last audit, of ${gradients}: ${sentence}`),
    command: { title: 'Show Audit', command: COMMANDS.showAudit, arguments: [id] },
  };
}
