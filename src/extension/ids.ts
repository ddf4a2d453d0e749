/** Names that package.json contributes; a unit test compares the two. */
export const COMMANDS = {
  auditFile: 'gradleak.auditFile',
  inspectFile: 'gradleak.inspectFile',
  openLastAudit: 'gradleak.openLastAudit',
  openAudit: 'gradleak.openAudit',
  showEngines: 'gradleak.showEngines',
  installCudaEngine: 'gradleak.installCudaEngine',
  copyCaptureScript: 'gradleak.copyCaptureScript',
  showLog: 'gradleak.showLog',
  auditWorkspace: 'gradleak.auditWorkspace',
  stopWorkspaceAudit: 'gradleak.stopWorkspaceAudit',
  showSummary: 'gradleak.showSummary',
  saveSarif: 'gradleak.saveSarif',
  auditExample: 'gradleak.auditExample',
  rerunAudit: 'gradleak.rerunAudit',
  rerunAuditWith: 'gradleak.rerunAuditWith',
  compareAudits: 'gradleak.compareAudits',
  inspectGradient: 'gradleak.inspectGradient',
  inspectCheckpoint: 'gradleak.inspectCheckpoint',
  openCapturingLine: 'gradleak.openCapturingLine',
  revealGradient: 'gradleak.revealGradient',
  exportAudit: 'gradleak.exportAudit',
  deleteAudit: 'gradleak.deleteAudit',
  stopAudit: 'gradleak.stopAudit',
  deleteWorkspaceAudit: 'gradleak.deleteWorkspaceAudit',
  insertCapture: 'gradleak.insertCapture',
  showAudit: 'gradleak.showAudit',
  auditPair: 'gradleak.auditPair',
  changeCheckpoint: 'gradleak.changeCheckpoint',
} as const;

/** Called by lenses and views with arguments; not for the palette. */
export const INTERNAL_COMMANDS: readonly string[] = [
  COMMANDS.insertCapture,
  COMMANDS.showAudit,
  COMMANDS.auditPair,
  COMMANDS.changeCheckpoint,
];

export const SETTINGS = {
  nodePath: 'gradleak.runtime.nodePath',
  method: 'gradleak.audit.method',
  head: 'gradleak.audit.head',
  layout: 'gradleak.audit.layout',
  batchSize: 'gradleak.audit.batchSize',
  batchTimeLimit: 'gradleak.audit.batchTimeLimit',
  attack: 'gradleak.reconstruction.attack',
  model: 'gradleak.reconstruction.model',
  inputShape: 'gradleak.reconstruction.inputShape',
  normalisation: 'gradleak.reconstruction.normalisation',
  timeLimit: 'gradleak.reconstruction.timeLimit',
  engine: 'gradleak.reconstruction.engine',
  tfjsFolder: 'gradleak.reconstruction.tfjsFolder',
  lpips: 'gradleak.reconstruction.lpips',
  preset: 'gradleak.matching.preset',
  matching: 'gradleak.matching.settings',
  everyPoint: 'gradleak.lenses.everyPoint',
  lastCapture: 'gradleak.lenses.lastCapture',
  concurrency: 'gradleak.project.concurrency',
  projectAttack: 'gradleak.project.attack',
  includeIgnored: 'gradleak.project.includeIgnored',
} as const;

/** One switch per kind of place. */
export const LENS_SETTINGS = {
  backward: 'gradleak.lenses.backward',
  autogradGrad: 'gradleak.lenses.autogradGrad',
  acceleratorBackward: 'gradleak.lenses.acceleratorBackward',
  manualBackward: 'gradleak.lenses.manualBackward',
  trainingStep: 'gradleak.lenses.trainingStep',
  flowerFit: 'gradleak.lenses.flowerFit',
  tapeGradient: 'gradleak.lenses.tapeGradient',
} as const;

/** One switch per code. */
export const HINT_SETTINGS = {
  GL101: 'gradleak.hints.GL101',
  GL102: 'gradleak.hints.GL102',
  GL103: 'gradleak.hints.GL103',
  GL104: 'gradleak.hints.GL104',
  GL105: 'gradleak.hints.GL105',
  GL106: 'gradleak.hints.GL106',
  GL107: 'gradleak.hints.GL107',
  GL108: 'gradleak.hints.GL108',
} as const;

export const RESULTS_VIEW = 'gradleak.results';
/** By default for files that nobody else opens; as an option for types that other editors open too. */
export const INSPECTOR_VIEWS = ['gradleak.inspector', 'gradleak.inspectorOption'] as const;
export const SUMMARY_VIEW = 'gradleak.summary';
export const AUDITS_TREE = 'gradleak.audits';
export const PROJECT_TREE = 'gradleak.project';
export const TASK_TYPE = 'gradleak';
export const TOOL_NAME = 'gradleak_audit';
