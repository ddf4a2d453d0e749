/** Names that package.json contributes; a unit test compares the two. */
export const COMMANDS = {
  auditFile: 'gradleak.auditFile',
  inspectFile: 'gradleak.inspectFile',
  openLastAudit: 'gradleak.openLastAudit',
  showLog: 'gradleak.showLog',
} as const;

export const SETTINGS = {
  nodePath: 'gradleak.runtime.nodePath',
  method: 'gradleak.audit.method',
  head: 'gradleak.audit.head',
  layout: 'gradleak.audit.layout',
} as const;

export const RESULTS_VIEW = 'gradleak.results';
