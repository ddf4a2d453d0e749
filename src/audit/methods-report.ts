import type { ReconstructionRequest } from '../protocol/audit-request.js';
import type { EmbeddingReport, MethodReport, SampleReport } from '../protocol/report.js';
import type { GradientShape } from '../recovery/head-gradient.js';
import { SURE_CLASS } from '../recovery/single-sample.js';
import type { FoundImprint } from './imprint.js';
import type { RecoveredHead } from './recover-head.js';

/** Which methods ran: without it, "nothing found" would not say what was looked for. */

export interface MethodFacts {
  readonly recovered: RecoveredHead;
  readonly samples: readonly SampleReport[];
  readonly shape: GradientShape;
  readonly embeddings: readonly EmbeddingReport[];
  readonly imprints: readonly FoundImprint[];
  readonly reconstruction: ReconstructionRequest | undefined;
}

export function methodsOf(facts: MethodFacts): MethodReport[] {
  const { embeddings, imprints } = facts;
  return [
    headMethod(facts),
    ...countMethod(facts),
    embeddings.length > 0
      ? { id: 'embedding-rows', outcome: 'found', detail: 'Rows of embeddings tell what was looked up.' }
      : { id: 'embedding-rows', outcome: 'nothing', detail: 'No embedding has a gradient in some of its rows only.' },
    imprints.length > 0
      ? { id: 'imprint-trap', outcome: 'found', detail: 'The checkpoint holds a layer made to catch inputs.' }
      : { id: 'imprint-trap', outcome: 'nothing', detail: 'No layer has the rows of a trap ("Robbing the Fed").' },
    inputMethod(facts),
  ];
}

function headMethod({ samples, shape }: MethodFacts): MethodReport {
  const id = shape.nature === 'batch' ? 'head-batch' : 'head-single';
  const recovered = samples.filter(({ status }) => status === 'recovered').length;
  const classes = samples.filter(({ label: { classConfidence = 0 } }) => classConfidence >= SURE_CLASS).length;
  const noise = `at noise of ${shape.noise.toPrecision(2)} per number of the head`;
  if (recovered > 0) {
    const whose = recovered === 1 ? 'one sample or group' : `${recovered} samples or groups`;
    return { id, outcome: 'found', detail: `Label and feature of ${whose} from the head, ${noise}.` };
  }
  return classes > 0
    ? { id, outcome: 'found', detail: `The class of the label from the head, and not its kind, ${noise}.` }
    : { id, outcome: 'nothing', detail: `No label and feature that could be relied on from the head, ${noise}.` };
}

function countMethod({ recovered: { labelCounts } }: MethodFacts): MethodReport[] {
  if (!labelCounts) {
    return [];
  }
  const isConfirmed = typeof labelCounts.confirmedBy === 'string';
  return [
    {
      id: 'label-counts',
      outcome: isConfirmed ? 'found' : 'nothing',
      detail: labelCounts.confirmedBy ?? 'Class counts were estimated, and nothing confirms the estimate.',
    },
  ];
}

function inputMethod({ samples, reconstruction }: MethodFacts): MethodReport {
  const tried = samples.flatMap((sample) => (sample.reconstruction ? [sample.reconstruction] : []));
  const found = tried.filter(({ verdict }) => verdict === 'exact' || verdict === 'close').length;
  if (found > 0) {
    return {
      id: 'input',
      outcome: 'found',
      detail: `${found} inputs were reconstructed and confirmed by the gradient.`,
    };
  }
  const [first] = tried;
  if (!reconstruction || reconstruction.attack === 'none') {
    return { id: 'input', outcome: 'not-applicable', detail: 'Reconstruction of inputs was not asked for.' };
  }
  return first && first.method !== 'none'
    ? { id: 'input', outcome: 'nothing', detail: first.reason }
    : { id: 'input', outcome: 'not-applicable', detail: first?.reason ?? 'No sample was recovered to start from.' };
}
