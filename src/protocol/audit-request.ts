/** What an audit is asked to do and how it tells of its progress; the same for command line and editor. */

export interface AuditRequest {
  checkpoint: string;
  gradients: string;
  /** Name of the head's weight or layer, when it is not to be found automatically. */
  head?: string;
  layout?: 'kxd' | 'dxk';
  method: 'auto' | 'paper';
  /** JSON file with the true labels and features; only compared with. */
  truth?: string;
  /** Folder for `report.json` and `features.npy`; nothing is written without it. */
  out?: string;
  /** Replace files in `out` that GradLeak did not write. */
  force?: boolean;
}

export const AUDIT_STAGES = ['open', 'match', 'read', 'check', 'recover', 'describe', 'write'] as const;

export type AuditStage = (typeof AUDIT_STAGES)[number];

export interface AuditProgress {
  stage: AuditStage;
  /** For people: "Reading the head". */
  message: string;
  /** 0 to 1 over the whole audit, never falling. */
  fraction: number;
}
