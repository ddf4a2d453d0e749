/** Names that package.json contributes; a unit test compares the two. */
export const COMMANDS = {
  auditFile: 'gradleak.auditFile',
  inspectFile: 'gradleak.inspectFile',
  openLastAudit: 'gradleak.openLastAudit',
  openAudit: 'gradleak.openAudit',
  chooseTruth: 'gradleak.chooseTruth',
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
  defendAudit: 'gradleak.defendAudit',
  inspectGradient: 'gradleak.inspectGradient',
  inspectCheckpoint: 'gradleak.inspectCheckpoint',
  openCapturingLine: 'gradleak.openCapturingLine',
  revealGradient: 'gradleak.revealGradient',
  exportAudit: 'gradleak.exportAudit',
  deleteAudit: 'gradleak.deleteAudit',
  stopAudit: 'gradleak.stopAudit',
  deleteWorkspaceAudit: 'gradleak.deleteWorkspaceAudit',
  submitWorkspace: 'gradleak.submitWorkspace',
  showQueue: 'gradleak.showQueue',
  retryQueue: 'gradleak.retryQueue',
  cancelQueue: 'gradleak.cancelQueue',
  forgetQueueLogins: 'gradleak.forgetQueueLogins',
  insertCapture: 'gradleak.insertCapture',
  showAudit: 'gradleak.showAudit',
  auditPair: 'gradleak.auditPair',
  takeStep: 'gradleak.takeStep',
  changeCheckpoint: 'gradleak.changeCheckpoint',
} as const;

/** Called by lenses and views with arguments; not for the palette. */
export const INTERNAL_COMMANDS: readonly string[] = [
  COMMANDS.insertCapture,
  COMMANDS.showAudit,
  COMMANDS.auditPair,
  COMMANDS.takeStep,
  COMMANDS.changeCheckpoint,
];

/** Keys of `when` clauses. */
export const CONTEXTS = {
  noAudits: 'gradleak.noAudits',
  noSummary: 'gradleak.noSummary',
  isAuditing: 'gradleak.isAuditing',
  isAuditingWorkspace: 'gradleak.isAuditingWorkspace',
  noSubmission: 'gradleak.noSubmission',
} as const;

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
  mean: 'gradleak.reconstruction.mean',
  std: 'gradleak.reconstruction.std',
  lenses: 'gradleak.lenses',
  hints: 'gradleak.hints',
  concurrency: 'gradleak.project.concurrency',
  projectAttack: 'gradleak.project.attack',
  includeIgnored: 'gradleak.project.includeIgnored',
  queueUrl: 'gradleak.queue.url',
  queueStore: 'gradleak.queue.store',
} as const;

/** The switch of each hint in its setting. Lenses have one per kind of place, under its own name. */
export const HINT_SWITCHES = {
  GL101: 'batchSizeOne',
  GL102: 'labelSmoothing',
  GL103: 'mixup',
  GL104: 'headWithoutBias',
  GL105: 'trainedEmbedding',
  GL106: 'unprotectedSharing',
  GL107: 'littleNoise',
  GL108: 'unsafeLoad',
} as const;

/** Switches of lenses that are none of a kind of place. */
export const LENS_SWITCHES = { everyPoint: 'everyPoint', lastCapture: 'lastCapture' } as const;

export const RESULTS_VIEW = 'gradleak.results';
/** By default for files that nobody else opens; as an option for types that other editors open too. */
export const INSPECTOR_VIEWS = ['gradleak.inspector', 'gradleak.inspectorOption'] as const;
export const SUMMARY_VIEW = 'gradleak.summary';
export const AUDITS_TREE = 'gradleak.audits';
export const PROJECT_TREE = 'gradleak.project';
export const TASK_TYPE = 'gradleak';
export const TOOL_NAME = 'gradleak_audit';
