import type { Facts } from '../../facts/facts.js';
import { HEAD } from '../../facts/head-facts.js';
import { STATED_TRAINING, UPDATE } from '../../facts/update.js';
import type { Detail } from '../../protocol/detail.js';
import type { Finding } from '../../protocol/report.js';
import { counted } from '../../words/count-words.js';
import { classNamer } from '../head/head-methods.js';
import { RECOVERY } from '../head/recovery.js';
import type { Leak, Method } from '../method.js';
import { MOST_DECAY } from '../../recovery/client-labels.js';
import { CLIENT_COUNTS, type ClientCounts } from './client-counts.js';

/** Which classes a client trained on, over several steps or in a batch that is not told sample by sample, and how often. */
export const clientLabels: Method = {
  id: 'client-labels',
  title: 'Classes that a client trained on',
  assumes: `the client trained as it is stated, by SGD that began afresh on the mean cross-entropy of each batch without weights of classes, every sample once in each epoch, with a weight decay of at most ${MOST_DECAY} where nothing tells it, and with labels of one class each, smoothed by up to 0.2.`,
  cites: 'Ma et al., ICLR 2023, for the mean features; the bounds and the course of the head are ours',
  cost: 's',
  kinds: ['several-steps', 'difference'],
  async applies(facts) {
    if ((await facts.get(UPDATE)).kind === 'difference' && !(await isLeftByHead(facts))) {
      return null;
    }
    const found = await facts.get(CLIENT_COUNTS);
    return 'why' in found ? found.why : true;
  },
  async run(facts) {
    const found = await facts.get(CLIENT_COUNTS);
    if ('why' in found) {
      return { outcome: 'not-applicable', detail: found.why, leaks: [] };
    }
    const named = await classNamer(facts);
    const tensor = (await facts.get(HEAD)).tensors?.weight.parameter.name ?? null;
    const source = (await facts.get(STATED_TRAINING))?.source ?? '';
    const isSure = surelyThere(found).length > 0;
    return {
      outcome: isSure ? 'found' : 'estimated',
      detail: isSure
        ? 'The difference of the head’s bias is larger for some classes than it can be without samples of them.'
        : 'Class counts were estimated; nothing confirms them.',
      leaks: [leakOf(found, named, tensor, source)],
    };
  },
};

/** Whether one step was stated of which the head tells no samples, such as a batch of more than half as many as classes. */
async function isLeftByHead(facts: Facts): Promise<boolean> {
  const isStated = (await facts.get(STATED_TRAINING)) !== undefined;
  const recovered = isStated ? await facts.get(RECOVERY) : undefined;
  return recovered?.unassessed !== undefined && recovered.cancelled === undefined;
}

type Named = (index: number) => string;

interface ClassCount {
  readonly index: number;
  readonly count: number;
  /** 0 where it is not known. */
  readonly least: number;
}

/** The classes that may occur, those that do most often first. */
function classesOf({ counts, least }: ClientCounts): ClassCount[] {
  return counts
    .map((count, index): ClassCount => ({ index, count, least: least?.[index] ?? 0 }))
    .filter((own) => own.count > 0 || own.least > 0)
    .sort((one, other) => other.count - one.count || one.index - other.index);
}

function surelyThere(found: ClientCounts): ClassCount[] {
  return classesOf(found)
    .filter(({ least }) => least > 0)
    .sort((one, other) => one.index - other.index);
}

function leakOf(found: ClientCounts, named: Named, tensor: string | null, source: string): Leak {
  const { training, misfit } = found;
  const sure = surelyThere(found);
  const what =
    sure.length > 0
      ? `${listed(sure.map(({ index }) => named(index)))} ${sure.length === 1 ? 'occurs' : 'occur'}`
      : undefined;
  return {
    noun: 'Classes',
    what: what === undefined ? 'how often each class occurs, estimated' : `${what} in the client's data`,
    brief: what === undefined ? null : `that ${what} in the client's data`,
    title: 'Classes of the client’s samples',
    amount: counted(training.samples, 'sample'),
    sample: null,
    tensor,
    certificate: {
      by: 'equations',
      error: misfit,
      floor: null,
      expectedError: null,
      verdict: 'uncertain',
    },
    gives: { inputs: 0, tokens: 0 },
    details: [{ type: 'text', text: textOf(found, source) }, tableOf(found, named)],
    findings: [sure.length > 0 ? surely(found, sure, named, source) : estimated(found, named)],
    arrays: [],
  };
}

const CONDITIONS = `the client trained as stated, on the plain mean cross-entropy of each batch, with labels of one class each, smoothed by up to 0.2, and a weight decay of at most ${MOST_DECAY} where nothing tells it`;
const MOST_LISTED = 12;

function listed(parts: readonly string[]): string {
  const shown = parts.slice(0, MOST_LISTED);
  const more = parts.length - shown.length;
  const rest = more > 0 ? [...shown, `${more} more`] : shown;
  return rest.length > 1 ? `${rest.slice(0, -1).join(', ')} and ${rest.at(-1)}` : (rest[0] ?? '');
}

function statedAs({ training, steps }: ClientCounts): string {
  const { learningRate, epochs, batchSize, samples, momentum } = training;
  return `learning rate ${learningRate}, momentum ${momentum}, ${counted(epochs, 'epoch')} (${counted(steps, 'step')}) over ${counted(samples, 'sample')} in batches of ${batchSize}`;
}

function textOf(found: ClientCounts, source: string): string {
  const { least, open, misfit } = found;
  const bounds =
    least === undefined
      ? ` The least that each class occurs is not told, since ${open.join('; ')}.`
      : ` Those are never negative, so the least counts hold if ${CONDITIONS}.`;
  const explained =
    misfit < EXPLAINED
      ? 'The estimate explains the difference of the bias'
      : `The estimate leaves ${(100 * misfit).toPrecision(2)} % of the difference of the bias unexplained, so it is a rough guess`;
  return `The difference of the head's bias, divided by what the steps multiply it by, is how often each class occurs, less the probabilities that the network gave it meanwhile.${bounds} The probabilities were simulated for the estimate, class by class with one mean feature. ${explained}; nothing confirms it. ${source} states: ${statedAs(found)}.`;
}

const EXPLAINED = 1e-2;
const MOST_ROWS = 64;

function tableOf(found: ClientCounts, named: Named): Detail {
  const isBounded = found.least !== undefined;
  return {
    type: 'table',
    title: 'How often each class occurs',
    columns: [
      { title: 'Class' },
      ...(isBounded ? [{ title: 'At least', isNumber: true }] : []),
      { title: 'Estimate', isNumber: true },
    ],
    rows: classesOf(found)
      .slice(0, MOST_ROWS)
      .map(({ index, count, least }) => ({
        cells: [named(index), ...(isBounded ? [String(least)] : []), String(count)],
      })),
  };
}

const MITIGATION =
  'Aggregate over more clients before anyone sees an update (secure aggregation), or use DP-SGD; clients with samples of more classes show less.';

function surely(found: ClientCounts, sure: readonly ClassCount[], named: Named, source: string): Finding {
  const counts = sure.map(({ index, least }) => `${named(index)} (at least ${least})`);
  return {
    id: 'client-classes-computed',
    severity: 'medium',
    title: 'Classes that a client trained on can be computed from its update',
    evidence: `${listed(counts)} of ${counted(found.training.samples, 'sample')}: without them the head's bias would not have grown so much. This holds if ${CONDITIONS}. ${source} states: ${statedAs(found)}.`,
    mitigation: MITIGATION,
  };
}

function estimated(found: ClientCounts, named: Named): Finding {
  const { open, training } = found;
  const shown = classesOf(found).map(({ index, count }) => `${named(index)} x ${count}`);
  return {
    id: 'client-counts-estimated',
    severity: 'low',
    title: "How often each class occurs in a client's data can be estimated, not computed",
    evidence: `Estimate: ${listed(shown)} of ${counted(training.samples, 'sample')}. Nothing confirms it${open.length > 0 ? `: ${open.join('; ')}` : ''}.`,
    mitigation: MITIGATION,
  };
}
