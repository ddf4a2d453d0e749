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
} as const;

export const RESULTS_VIEW = 'gradleak.results';
/** By default for files that nobody else opens; as an option for types that other editors open too. */
export const INSPECTOR_VIEWS = ['gradleak.inspector', 'gradleak.inspectorOption'] as const;
