import type { Facts } from '../../facts/facts.js';
import { CLASS_NAMES, HEAD, HEAD_GRADIENT, HEAD_SHAPE } from '../../facts/head-facts.js';
import type { SampleReport } from '../../protocol/report.js';
import { counted } from '../../words/count-words.js';
import { SURE_CLASS } from '../../protocol/sample-knowledge.js';
import { type Leak, type Method, type MethodResult, READABLE } from '../method.js';
import { countFinding, labelFindings } from './label-findings.js';
import { sweepNoise } from './noise-sweep.js';
import { RECOVERY } from './recovery.js';

/** Label and feature of the one sample that a gradient is of. */
export const headSingle: Method = {
  id: 'head-single',
  title: 'Label and feature of one sample',
  assumes:
    'the gradient is of one sample under cross-entropy or a sigmoid loss, and that the layer found is the last one before that loss.',
  cites: 'Wang, Liang, He, ICLR 2024, arXiv 2402.03124',
  cost: 's',
  kinds: READABLE,
  async applies(facts) {
    const { why } = await facts.get(HEAD);
    if (why !== '') {
      return why;
    }
    return (await facts.get(HEAD_SHAPE))?.nature === 'batch' ? null : assessed(facts);
  },
  run: samplesOf,
};

/** Labels and features of every sample of a batch. */
export const headBatch: Method = {
  ...headSingle,
  id: 'head-batch',
  title: 'Labels and features of a batch',
  assumes:
    'the gradient is the mean or the sum of its samples’ gradients under cross-entropy, and that the errors left over are rounding or noise of one size.',
  cites: null,
  applies: async (facts) => ((await facts.get(HEAD_SHAPE))?.nature === 'batch' ? assessed(facts) : null),
};

/** How often each class occurs in a batch. */
export const labelCounts: Method = {
  id: 'label-counts',
  title: 'How often each class occurs',
  assumes:
    'the samples’ features and errors are alike enough for each estimator, whose own assumption is in the table of counts.',
  cites: 'Wainakh et al., arXiv 2105.09369; Yin et al., arXiv 2104.07586; Ma et al., ICLR 2023',
  cost: 's',
  kinds: READABLE,
  async applies(facts) {
    const recovered = await facts.get(RECOVERY);
    return recovered?.labelCounts && recovered.unassessed === undefined ? true : null;
  },
  async run(facts) {
    const recovered = await facts.get(RECOVERY);
    if (!recovered?.labelCounts) {
      return { outcome: 'nothing', detail: 'No classes were counted.', leaks: [] };
    }
    const { confirmedBy } = recovered.labelCounts;
    const finding = countFinding(recovered.labelCounts, recovered.batch.size, await classNamer(facts));
    return {
      outcome: typeof confirmedBy === 'string' ? 'found' : 'estimated',
      detail: confirmedBy ?? 'Class counts were estimated; nothing confirms them.',
      leaks: [leakOf('Counts', finding.title, null, await headName(facts), [finding])],
    };
  },
};

/** What the head's numbers do not support must not be shown, whatever was computed from them. */
async function assessed(facts: Facts): Promise<true | string> {
  const recovered = await facts.get(RECOVERY);
  return recovered?.unassessed !== undefined && recovered.cancelled === undefined ? recovered.unassessed : true;
}

async function samplesOf(facts: Facts): Promise<MethodResult> {
  const [recovered, head, shape] = [
    await facts.get(RECOVERY),
    await facts.get(HEAD_GRADIENT),
    await facts.get(HEAD_SHAPE),
  ];
  if (!recovered || !head || !shape) {
    return { outcome: 'not-applicable', detail: 'There is no head.', leaks: [] };
  }
  const { samples, single } = recovered;
  const sweep =
    single?.status === 'recovered' && shape.nature === 'single' ? sweepNoise(head.gradient, single) : undefined;
  const named = { className: await classNamer(facts), sweep };
  const tensor = await headName(facts);
  const leaks =
    shape.nature === 'hidden'
      ? []
      : samples.map((sample, index) =>
          leakOf(
            'Label',
            single?.isOneTold !== false ? `label and feature of sample ${index + 1}` : 'weighted sum of features',
            index,
            tensor,
            labelFindings(sample, named),
            certificateOf(sample),
          ),
        );
  return {
    ...told(samples, noiseInWords(shape.nature === 'batch' ? recovered.noise : shape.noise)),
    leaks,
    stopped: recovered.cancelled !== undefined,
  };
}

function certificateOf({ status, residual, residualFloor, featureError }: SampleReport): Leak['certificate'] {
  return status === 'not-identifiable'
    ? null
    : {
        by: 'equations',
        error: residual,
        floor: residualFloor,
        expectedError: featureError ?? null,
        verdict: status === 'recovered' ? 'exact' : 'uncertain',
      };
}

/** @param noise standard deviation; 0 where there is none beyond rounding */
function noiseInWords(noise: number): string {
  return noise === 0
    ? "with no noise beyond rounding in the head's gradient"
    : `with noise of ${noise.toPrecision(2)} in each number of the head's gradient`;
}

function told(samples: readonly SampleReport[], noise: string): Pick<MethodResult, 'outcome' | 'detail'> {
  const recovered = samples.filter(({ status }) => status === 'recovered').length;
  const classes = samples.filter(({ label: { classConfidence = 0 } }) => classConfidence >= SURE_CLASS).length;
  if (recovered > 0) {
    const isGrouped = samples.some(({ multiplicity = 1 }) => multiplicity > 1);
    const several = isGrouped ? counted(recovered, 'sample or group', 'samples or groups') : `${recovered} samples`;
    const whose = recovered === 1 && !isGrouped ? 'one sample' : several;
    return { outcome: 'found', detail: `Label and feature of ${whose}, ${noise}.` };
  }
  return classes > 0
    ? { outcome: 'found', detail: `The class of the label, but not its kind, ${noise}.` }
    : { outcome: 'nothing', detail: `No label that could be relied on, ${noise}.` };
}

function leakOf(
  noun: string,
  what: string,
  sample: number | null,
  tensor: string,
  findings: Leak['findings'],
  certificate: Leak['certificate'] = null,
): Leak {
  return {
    noun,
    what,
    brief: null,
    title: what,
    amount: null,
    sample,
    tensor,
    certificate,
    gives: { inputs: 0, tokens: 0 },
    details: [],
    findings,
    arrays: [],
  };
}

async function headName(facts: Facts): Promise<string> {
  return (await facts.get(HEAD)).tensors?.weight.parameter.name ?? '';
}

/** Names of classes by their index. */
export async function classNamer(facts: Facts): Promise<(index: number) => string> {
  const names = await facts.get(CLASS_NAMES);
  return (index) => names?.[index] ?? `class ${index}`;
}
