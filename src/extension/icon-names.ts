import type { Severity } from '../protocol/report.js';
import type { Standing } from '../words/outcome-words.js';

/** VS Code's icon for how an audit came out: only what is calm may look so. */
export function iconNameOf(standing: Standing, severity: Severity | null): string {
  switch (standing) {
    case 'leaks':
      return severity === 'critical' || severity === 'high' ? 'error' : 'warning';
    case 'estimate':
      return 'warning';
    case 'not-assessed':
      return 'question';
    case 'mismatch':
    case 'failed':
      return 'circle-slash';
    case 'nothing':
      return severity === null ? 'pass' : 'warning';
    case 'waiting':
      return 'clock';
  }
}
