import schema from '../../media/report.schema.json';
import { validatorOf } from '../formats/json-file.js';
import { type TouchedEmbedding, describeEmbedding } from '../methods/embedding-rows/describe-embedding.js';
import { type TrapFacts, describeTrap } from '../methods/imprint-trap/describe-trap.js';
import { NAMES } from '../methods/reconstruction-report.js';
import { explanationOf } from '../methods/head/explanations.js';
import type { LeakReport, MethodReport, ReconstructionReport, Report, SampleReport } from '../protocol/report.js';

/** Reports of schema version 1, which people have in their storage. */

interface ReportVersion1 extends Omit<Report, 'schemaVersion' | 'leaks' | 'methods' | 'samples'> {
  schemaVersion: 1;
  samples?: (Omit<SampleReport, 'explanation' | 'reconstruction'> & {
    reconstruction?: Omit<ReconstructionReport, 'by'>;
  })[];
  embeddings?: TouchedEmbedding[];
  imprints?: (TrapFacts & { file: string | null })[];
  methods?: Omit<MethodReport, 'title'>[];
}

const TITLES: Record<string, string> = {
  'head-single': 'Label and feature of one sample',
  'head-batch': 'Labels and features of a batch',
  'label-counts': 'How often each class occurs',
  'embedding-rows': 'Tokens and items from embeddings',
  'imprint-trap': 'Traps for inputs in the checkpoint',
  input: 'The input itself',
};

const VALIDATOR = validatorOf<Report>(schema);

/** @returns the report in the current version, undefined for what is none of ours or does not follow the schema */
export function upgradeReport(stored: unknown): Report | undefined {
  const report = inVersion2(stored);
  return VALIDATOR.is(report) ? report : undefined;
}

function inVersion2(stored: unknown): unknown {
  if (typeof stored !== 'object' || stored === null || !('schemaVersion' in stored) || stored.schemaVersion !== 1) {
    return stored;
  }
  try {
    return fromVersion1(stored as ReportVersion1);
  } catch {
    // Version 1 has no schema of its own: what cannot be carried over was none of ours.
    return undefined;
  }
}

const BY: Record<ReconstructionReport['method'], string> = { ...NAMES, none: '' };

function fromVersion1({ embeddings = [], imprints = [], methods, samples = [], ...report }: ReportVersion1): Report {
  const leaks: LeakReport[] = [
    ...embeddings.map((own) => ({ method: 'embedding-rows', ...describeEmbedding(own), files: [] })),
    ...imprints.map((own) => ({
      method: 'imprint-trap',
      ...describeTrap(own),
      files: own.file === null ? [] : [own.file],
    })),
  ];
  return {
    ...report,
    schemaVersion: 2,
    samples: samples.map(({ reconstruction, ...own }) => ({
      ...own,
      explanation: explanationOf(own.method),
      ...(reconstruction ? { reconstruction: { ...reconstruction, by: BY[reconstruction.method] } } : {}),
    })),
    leaks,
    ...(methods ? { methods: methods.map((own) => titled(own, report.labelCounts)) } : {}),
  };
}

/** Version 1 called an estimate of counts "nothing". */
function titled(method: Omit<MethodReport, 'title'>, counts: Report['labelCounts']): MethodReport {
  const isEstimate = method.id === 'label-counts' && counts?.confirmedBy === null;
  return { ...method, title: TITLES[method.id] ?? method.id, outcome: isEstimate ? 'estimated' : method.outcome };
}
