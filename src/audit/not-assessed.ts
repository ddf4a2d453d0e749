import { performance } from 'node:perf_hooks';
import type { AuditRequest } from '../protocol/audit-request.js';
import type { ConsistencyCheck, Report, UpdateReport } from '../protocol/report.js';
import type { TensorFile } from '../formats/tensor-file.js';
import { checkFileSafety, checkMatching } from './consistency.js';
import { findingsOf } from './findings.js';
import type { Matching } from './matching.js';
import { writeResults } from './output.js';
import type { AuditResult } from './run-audit.js';
import { TOOL_VERSION } from './version.js';

export interface AuditedFiles {
  readonly checkpoint: TensorFile;
  readonly gradients: TensorFile;
}

/** A report's entry for one of its inputs. */
export function describeFile(file: TensorFile): Report['inputs']['checkpoint'] {
  return { path: file.path, format: file.format, tensors: file.entries.length };
}

/** Why no method is tried on an update of this kind, the verdict's sentence; undefined for one that is. */
export function notAttacked({ kind }: UpdateReport): string | undefined {
  switch (kind) {
    case 'adam-step':
      return 'Nothing was assessed: this is the first step of Adam or a sign, whose entries have one size, and no method here reads a gradient from it.';
    case 'sign':
      return 'Nothing was assessed: this is the sign of a gradient, which keeps no magnitudes, and no method here reads it.';
    case 'several-steps':
      return 'Nothing was assessed: this is the difference of weights over several steps, and no method here takes the steps apart.';
    case 'gradient':
    case 'checkpoint':
    case 'optimiser-state':
    case 'difference':
    case 'quantised':
    case 'pruned':
    case 'unknown':
      return undefined;
  }
}

/**
 * A complete report, written to the request's folder, of an update that no method can judge. Absence of evidence is not
 * evidence of absence, so nothing in it may read as a clean result.
 *
 * @param sentence why nothing was assessed; the verdict's
 * @param checks beyond those of file safety and matching, which are made here
 * @param started `performance.now()` when the audit began, milliseconds
 */
export function notAssessed(
  request: Pick<AuditRequest, 'out'>,
  { checkpoint, gradients }: AuditedFiles,
  matching: Matching,
  update: UpdateReport,
  sentence: string,
  checks: readonly ConsistencyCheck[],
  started: number,
): AuditResult {
  const files = [checkpoint, gradients];
  const totalMs = performance.now() - started;
  const report: Report = {
    schemaVersion: 1,
    tool: { name: 'gradleak', version: TOOL_VERSION },
    verdict: { outcome: 'not-assessed', sentence },
    inputs: { checkpoint: describeFile(checkpoint), gradients: describeFile(gradients) },
    head: null,
    update,
    consistency: [checkFileSafety(files), checkMatching(matching, gradients), ...checks],
    methods: [{ id: 'head', outcome: 'not-applicable', detail: sentence }],
    batch: { size: null, lowerBound: 1, evidence: 'Nothing was recovered, so the number of samples is not known.' },
    samples: [],
    labelCounts: null,
    // What loading a file would run is found whatever the numbers in it are.
    findings: findingsOf({
      files,
      samples: [],
      labelCounts: null,
      batchSize: null,
      classes: 0,
      className: String,
      sweep: undefined,
      embeddings: [],
      imprints: [],
      hidden: false,
    }),
    timings: { readMs: totalMs, recoverMs: 0, totalMs },
  };
  if (request.out !== undefined) {
    writeResults(request.out, report, [], [], []);
  }
  return { report, features: [] };
}
