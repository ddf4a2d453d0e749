import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runAudit } from '../../src/audit/run-audit.js';
import { UnusableInputError } from '../../src/protocol/errors.js';
import type { Report, SampleReport } from '../../src/protocol/report.js';
import { type Claim, type Outcome, renderTables } from './tables.js';

/**
 * Audits every case of make_cases.py and compares what is stated, with its confidence, with the truth.
 *
 *     npm run calibrate -- FOLDER [--limit N] [--docs]
 */

interface Case {
  id: number;
  group: 'real' | 'wrong' | 'random';
  gradients: string;
  checkpoint: string;
  network: string;
  classes: number;
  state: string;
  bias: boolean;
  batch: number;
  kind: string;
  weight: number;
  epsilon: number;
  how: string;
  level: number;
  labels: { top: number; values: Record<string, number>; flat: number }[];
  lossGap: number[];
}

const BATCH_SECONDS = 8;

async function auditCase(folder: string, own: Case): Promise<Outcome> {
  const common = {
    id: own.id,
    group: own.group,
    how: own.how,
    level: own.level,
    classes: own.classes,
    batch: own.batch,
    bias: own.bias,
    state: own.state,
    network: own.network,
    kind: own.kind,
    gap: Math.min(...own.lossGap),
  };
  try {
    const { report } = await runAudit(
      {
        checkpoint: join(folder, own.checkpoint),
        gradients: join(folder, own.gradients),
        method: 'auto',
        batchTimeLimitSeconds: BATCH_SECONDS,
      },
      { progress: () => undefined, pause: () => Promise.resolve() },
    );
    return {
      ...common,
      outcome: report.verdict.outcome,
      update: report.update?.kind ?? null,
      recovered: report.samples.filter(({ status }) => status === 'recovered').length,
      findings: report.findings.map(({ id, severity }) => `${severity}:${id}`),
      countErrors: countErrors(report, own),
      claims: claimsOf(report, own),
    };
  } catch (error) {
    if (!(error instanceof UnusableInputError)) {
      throw error;
    }
    return {
      ...common,
      outcome: `refused:${error.code}`,
      update: null,
      recovered: 0,
      findings: [],
      countErrors: null,
      claims: [],
    };
  }
}

/** Classes whose count is stated and wrong, where counts are stated as computed; null where they are not. */
function countErrors(report: Report, { labels, classes, kind }: Case): number | null {
  if (!report.labelCounts || typeof report.labelCounts.confirmedBy !== 'string' || !/^(hard|smoothed)$/.test(kind)) {
    return null;
  }
  const truth = new Array<number>(classes).fill(0);
  for (const { top } of labels) {
    truth[top] = (truth[top] ?? 0) + 1;
  }
  return report.labelCounts.agreed.filter((count, at) => count !== null && count !== truth[at]).length;
}

/** A batch's samples come in no order: each is compared with the nearest true label that is still free. */
function claimsOf(report: Report, own: Case): Claim[] {
  const free = new Set(own.labels.keys());
  return report.samples.flatMap((sample): Claim[] => {
    const top = sample.label.classes[0]?.index;
    if (sample.status === 'not-identifiable' || top === undefined) {
      return [];
    }
    const best = [...free].sort(
      (one, other) => distance(sample, own.labels[one]!) - distance(sample, own.labels[other]!),
    )[0];
    if (best === undefined) {
      return [{ ...nothing(sample), isClassRight: false, isKindRight: false }];
    }
    const truth = own.labels[best]!;
    const nearest = [...free].sort(
      (one, other) => distance(sample, own.labels[one]!) - distance(sample, own.labels[other]!),
    );
    for (const row of nearest.slice(0, sample.multiplicity ?? 1)) {
      free.delete(row);
    }
    const entry = truth.values[String(top)] ?? truth.flat;
    const range = sample.label.classes[0]?.range;
    const isKindStated = sample.label.kind !== 'undetermined' && sample.label.kind !== 'other';
    return [
      {
        ...nothing(sample),
        isClassRight: top === truth.top || Math.abs(entry - (truth.values[String(truth.top)] ?? 0)) < 1e-3,
        isKindRight: isKindStated ? sample.label.kind === own.kind : null,
        isTopInRange: range ? entry >= range[0] - 1e-4 && entry <= range[1] + 1e-4 : null,
        isSmoothingInRange:
          sample.label.smoothingRange && isKindStated && sample.label.smoothing > 0
            ? own.epsilon >= sample.label.smoothingRange[0] - 1e-4 &&
              own.epsilon <= sample.label.smoothingRange[1] + 1e-4
            : null,
      },
    ];
  });
}

function nothing({ label, confidence, status }: SampleReport): Claim {
  return {
    status,
    kind: label.kind,
    classConfidence: label.classConfidence ?? confidence,
    kindConfidence: label.kindConfidence ?? confidence,
    isClassRight: null,
    isKindRight: null,
    isTopInRange: null,
    isSmoothingInRange: null,
  };
}

function distance({ label }: SampleReport, { values, flat }: Case['labels'][number]): number {
  return Object.entries(values).reduce(
    (sum, [index, value]) => sum + Math.abs((label.probabilities[Number(index)] ?? 0) - value) + Math.abs(flat) * 1e-6,
    0,
  );
}

async function main(): Promise<void> {
  const [folder = '', ...flags] = process.argv.slice(2);
  const at = flags.indexOf('--limit');
  const limit = at >= 0 ? Number(flags[at + 1]) : Infinity;
  const cases = readFileSync(join(folder, 'cases.jsonl'), 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Case);
  // Every n-th case, so that a limited run sees all groups.
  const step = Math.max(1, Math.floor(cases.length / limit));
  const outcomes: Outcome[] = [];
  for (let index = 0; index < cases.length; index += step) {
    outcomes.push(await auditCase(folder, cases[index]!));
    if (outcomes.length % 100 === 0) {
      console.error(`${outcomes.length} of ${Math.ceil(cases.length / step)}`);
    }
  }
  mkdirSync('out', { recursive: true });
  writeFileSync('out/calibration.jsonl', outcomes.map((outcome) => `${JSON.stringify(outcome)}\n`).join(''));
  const tables = renderTables(outcomes);
  console.log(tables);
  if (flags.includes('--docs')) {
    writeFileSync('docs/calibration.md', tables);
  }
}

void main();
