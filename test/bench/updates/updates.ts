import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runAudit } from '../../../src/audit/run-audit.js';
import type { AuditRequest } from '../../../src/protocol/audit-request.js';
import type { Report } from '../../../src/protocol/report.js';

/**
 * Audits what make_updates.py wrote, and says beside the truth what each report claims: kind, sign, labels, number of samples,
 * scale. A claim that is wrong is marked with "!".
 */

interface CaseTruth {
  readonly network: string;
  readonly optimiser: string;
  readonly rate: number;
  readonly steps: number;
  readonly batch: number;
  readonly repeat: boolean;
  readonly dtype: string;
  readonly sign: 1 | -1;
  readonly labels: readonly number[];
}

interface Row {
  readonly name: string;
  readonly file: string;
  readonly kind: string;
  readonly outcome: string;
  readonly sentence: string;
  readonly recovered: number;
  readonly right: number;
  readonly scaleError: number | null;
  readonly wrong: readonly string[];
}

const FILES = ['gradient.pt', 'after.pt', 'difference.pt', 'list.npz'];
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };

async function audited(folder: string, file: string, truth: CaseTruth): Promise<Row> {
  const request: AuditRequest = {
    checkpoint: join(folder, 'before.pt'),
    gradients: join(folder, file),
    method: 'auto',
    batchTimeLimitSeconds: 10,
  };
  const base = { name: folder.split('/').at(-1) ?? '', file };
  try {
    const { report } = await runAudit(request, hooks);
    return { ...base, ...judged(report, file, truth) };
  } catch (error) {
    const sentence = error instanceof Error ? error.message : String(error);
    const nothing = { kind: 'error', outcome: 'error', recovered: 0, right: 0, scaleError: null, wrong: [] };
    return { ...base, ...nothing, sentence };
  }
}

function judged(report: Report, file: string, truth: CaseTruth): Omit<Row, 'name' | 'file'> {
  const wrong: string[] = [];
  const { update, samples, batch, verdict, findings, labelCounts } = report;
  const isUpdate = file !== 'gradient.pt';
  const own = isUpdate ? truth.labels : truth.labels.slice(0, truth.batch);
  const labels = [...own];
  let right = 0;
  const told = samples.filter(({ status }) => status === 'recovered');
  for (const sample of told) {
    for (let copy = 0; copy < (sample.multiplicity ?? 1); copy++) {
      const at = labels.indexOf(sample.label.classes[0]?.index ?? -1);
      if (at < 0) {
        wrong.push(`label ${sample.label.classes[0]?.index}`);
      } else {
        labels.splice(at, 1);
        right++;
      }
      if (sample.label.kind !== 'hard') {
        wrong.push(`kind of label ${sample.label.kind}`);
      }
    }
  }
  const count = own.length;
  if (batch.lowerBound > count) {
    wrong.push(`at least ${batch.lowerBound} of ${count}`);
  }
  if (batch.size !== null && batch.size !== count) {
    wrong.push(`size ${batch.size} of ${count}`);
  }
  const kind = update?.kind ?? 'none';
  const expected = !isUpdate
    ? ['gradient']
    : truth.optimiser.startsWith('adam') && truth.steps === 1
      ? ['adam-step']
      : truth.steps === 1
        ? ['difference']
        : ['several-steps', 'difference'];
  if (!expected.includes(kind)) {
    wrong.push(`kind ${kind}`);
  }
  // A sign that the report calls assumed is no claim.
  if (
    kind === 'difference' &&
    typeof update?.signToldBy === 'string' &&
    update.sign !== (file === 'difference.pt' ? -truth.sign : -1)
  ) {
    wrong.push(`sign ${update.sign}`);
  }
  if (labelCounts && typeof labelCounts.confirmedBy === 'string') {
    const exact = new Map<number, number>();
    own.forEach((label) => exact.set(label, (exact.get(label) ?? 0) + 1));
    labelCounts.agreed.forEach((counted, index) => {
      if (counted !== null && counted !== (exact.get(index) ?? 0)) {
        wrong.push(`count of class ${index}`);
      }
    });
  }
  const scale = samples[0]?.status === 'recovered' && samples.length === 1 ? samples[0].gradientScale : null;
  const rate = isUpdate ? truth.rate * (truth.optimiser === 'nesterov' ? 1.9 : 1) : 1;
  return {
    kind,
    outcome: verdict.outcome,
    sentence: `${verdict.sentence} [${findings.map(({ id, title }) => `${id}: ${title}`).join('; ')}]`,
    recovered: told.reduce((sum, { multiplicity = 1 }) => sum + multiplicity, 0),
    right,
    scaleError: scale === null ? null : scale / rate - 1,
    wrong,
  };
}

const [folder = '.', only = ''] = process.argv.slice(2);
const rows: Row[] = [];
for (const name of readdirSync(folder).sort()) {
  const own = join(folder, name);
  if (!name.includes(only) || !existsSync(join(own, 'truth.json'))) {
    continue;
  }
  const truth = JSON.parse(readFileSync(join(own, 'truth.json'), 'utf8')) as CaseTruth;
  for (const file of FILES.filter((one) => existsSync(join(own, one)))) {
    const row = await audited(own, file, truth);
    rows.push(row);
    const scale = row.scaleError === null ? '' : ` scale ${row.scaleError.toExponential(0)}`;
    const wrong = row.wrong.length > 0 ? ` !!! ${row.wrong.join(', ')}` : '';
    console.log(
      `${name} ${file}: ${row.kind}, ${row.outcome}, ${row.right}/${truth.labels.length} labels${scale}${wrong}\n    ${row.sentence.slice(0, 260)}`,
    );
  }
}
writeFileSync(join(folder, 'rows.json'), JSON.stringify(rows, null, 1));
console.log(`${rows.filter(({ wrong }) => wrong.length > 0).length} of ${rows.length} reports with a wrong claim`);
