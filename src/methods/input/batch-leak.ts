import { nodeName } from '../../network/layer-graph.js';
import type { ReconstructionRequest } from '../../protocol/audit-request.js';
import type { Detail } from '../../protocol/detail.js';
import type { Finding } from '../../protocol/report.js';
import { counted } from '../../words/count-words.js';
import type { Leak, NamedArray } from '../method.js';
import type { BatchMaps, MappedSample } from './batch-maps.js';
import { CERTAIN, CLOSE, EXACT_LAYER } from './certificate.js';
import { describeMaps } from './describe-maps.js';

/** Inputs and feature maps of a batch whose samples the head does not tell, as a leak of its own. */

type Verdict = 'exact' | 'close' | 'uncertain';

/** Of one input, by what it adds to the gradient itself. */
export function verdictOfInput(
  { sizeOpen }: Pick<BatchMaps, 'sizeOpen'>,
  { error, worst, mostOfLayer }: Pick<MappedSample, 'error' | 'worst' | 'mostOfLayer'>,
): Verdict {
  const verdict = worst && worst.error > mostOfLayer ? 'uncertain' : verdictOfError(error ?? Infinity);
  return verdict === 'exact' && (sizeOpen || (worst && worst.error > EXACT_LAYER)) ? 'close' : verdict;
}

function verdictOfError(error: number): Verdict {
  return error <= CERTAIN ? 'exact' : error <= CLOSE ? 'close' : 'uncertain';
}

/** @returns undefined where no map was found */
export function batchLeak(maps: BatchMaps, { normalisation }: ReconstructionRequest): Leak | undefined {
  const { run, prepared, samples, gradientError } = maps;
  const { recipe } = prepared.candidate;
  const { batch, steps } = run.walk;
  const verdicts = samples.map((sample) => verdictOfInput(maps, sample));
  const told = verdicts.filter((verdict) => verdict !== 'uncertain');
  const isTold = told.length > 0;
  const verdict = told.includes('close') ? 'close' : 'exact';
  const amount = `${told.length === samples.length ? '' : `${told.length} of `}${counted(samples.length, 'input')}`;
  // What a hidden layer tells, and nothing more, has a leak of its own.
  if (run.walk.maps.length === 0 || (steps.length === 0 && !isTold)) {
    return undefined;
  }
  const mapError = Math.max(...steps.map(({ residual }) => residual), ...run.walk.maps.map(({ error }) => error));
  const own = describeMaps(run, recipe);
  const arrays: NamedArray[] = [...own.arrays];
  const pictures: Detail[] = [];
  if (isTold) {
    samples.forEach(({ input }, at) => {
      const name = `batch-input-${at}`;
      arrays.push({ name, shape: [1, ...recipe.input], data: input });
      pictures.push({
        type: 'picture',
        title: `Input ${at + 1}${verdicts[at] === 'uncertain' ? ', not confirmed' : ''}`,
        shape: [...recipe.input],
        file: `${name}.npy`,
        ...(normalisation ? { normalisation } : {}),
      });
    });
  }
  const whole = run.walk.maps.find(({ unknown }) => !unknown) ?? run.walk.maps[0]!;
  const where = nodeName(recipe, whole.node);
  return {
    noun: isTold ? 'Inputs' : 'Feature maps',
    what: isTold ? `${amount} of the batch` : `feature maps of ${counted(batch, 'sample')} down to ${where}`,
    brief: isTold ? amount : `feature maps of ${counted(batch, 'sample')}`,
    title: isTold ? 'The inputs of the batch' : 'Feature maps inside the network',
    amount: isTold ? amount : counted(batch, 'sample'),
    sample: null,
    tensor: null,
    certificate: isTold
      ? { by: 'gradient', error: gradientError ?? 1, floor: CERTAIN, expectedError: null, verdict }
      : {
          by: 'equations',
          error: mapError,
          floor: null,
          expectedError: null,
          verdict: verdictOfError(mapError),
        },
    gives: { inputs: verdicts.filter((own) => own === 'exact').length, tokens: 0 },
    details: [
      {
        type: 'text',
        text: `${run.begunAt === undefined ? `The row space of one layer's gradient shows ${counted(batch, 'sample')} with ${batch === 1 ? 'its' : 'their'} feature maps` : `The gradient of \`${run.begunAt}\` tells ${counted(batch, 'sample')} apart, from which the inputs follow`}, without labels and without the head. ${run.ended === undefined ? '' : `It could go no further than ${run.ended}.`}`.trim(),
      },
      ...(isTold ? [labelTable(samples)] : []),
      ...pictures,
      ...own.details,
    ],
    findings: [findingOf(maps, told, where)],
    arrays,
  };
}

function labelTable(samples: readonly MappedSample[]): Detail {
  return {
    type: 'table',
    title: 'Labels that follow from the inputs',
    columns: [
      { title: 'Input', isNumber: true },
      { title: 'Class', isNumber: true },
      { title: 'Probability', isNumber: true },
      { title: 'Left of its maps', isNumber: true },
    ],
    rows: samples.map(({ label, residual }, at) => {
      const top = label ? label.indexOf(label.reduce((most, own) => Math.max(most, own), 0)) : -1;
      return {
        cells: [
          String(at + 1),
          label ? String(top) : '?',
          label ? label[top]!.toFixed(3) : '?',
          residual.toExponential(1),
        ],
      };
    }),
  };
}

function findingOf(maps: BatchMaps, told: readonly Verdict[], where: string): Finding {
  const { run, gradientError, samples } = maps;
  const isWhole = told.length === samples.length;
  const alone = startOf(maps);
  return told.length > 0
    ? {
        id: 'batch-inputs-reconstructed',
        severity: told.includes('exact') ? 'critical' : 'high',
        title: isWhole
          ? 'The training inputs of the whole batch can be computed'
          : 'Training inputs of the batch can be computed',
        evidence: `${isWhole ? '' : `${told.length} of `}${counted(samples.length, 'input')}, from ${run.begunAt === undefined ? "feature maps that follow from the layers' gradients" : `what the gradient of \`${run.begunAt}\` tells of each sample`}. The gradient computed from all of them together matches the captured one to ${(gradientError ?? 1).toExponential(1)}.${isWhole ? '' : ` ${unconfirmed(samples)}`}${maps.sizeOpen ? ` ${SIZE_OPEN}` : ''}${alone}`,
        mitigation: run.begunAt === undefined ? MITIGATION : HIDDEN_MITIGATION,
      }
    : {
        id: 'feature-maps-computed',
        severity: 'high',
        title: 'Feature maps of every sample can be computed',
        evidence: `${counted(run.walk.batch, 'sample')}, down to ${where}.${alone}`,
        mitigation: MITIGATION,
      };
}

/** Why others are not told, of whose inputs some are. */
function unconfirmed(samples: readonly MappedSample[]): string {
  const inLayer = samples.flatMap(({ error, worst, mostOfLayer }) =>
    (error ?? Infinity) <= CLOSE && worst && worst.error > mostOfLayer ? [worst] : [],
  );
  const [first] = inLayer;
  return first
    ? `Against what the others add to it themselves, or to that of one layer (\`${first.weight}\`: ${first.error.toExponential(1)}), that does not confirm them.`
    : 'Against what the others add to it themselves, that does not confirm them.';
}

/** Which layer's gradient begins it, and how many samples it would give away at most. */
function startOf({ run, prepared }: BatchMaps): string {
  const first = run.walk.steps.find(({ by }) => by === 'row space');
  const [layer] = first?.layers ?? [];
  const index = prepared.candidate.recipe.layers.findIndex(
    (own) => 'weight' in own && own.weight.replace(/\.weight$/, '') === layer,
  );
  const shape = prepared.net.outputs[index]?.shape;
  if (layer === undefined || shape?.length !== 4) {
    return '';
  }
  const [, channels, height, width] = shape as [number, number, number, number];
  const positions = height * width;
  const most = Math.ceil(channels / positions) - 1;
  return ` The gradient of \`${layer}\` alone begins it: ${channels} output channels at ${positions} positions give away batches of up to ${most}.`;
}

/** What train-mode normalisation hides of a batch. */
export const SIZE_OPEN =
  'Batch normalisation in train mode all but hides the contrast that all of them have in common, which stays open.';

const HIDDEN_MITIGATION =
  'Withhold the gradient of that layer, or use batches of more samples than half of its units, which no method here tells apart: that closes this way and may leave others. Aggregate securely over many clients, or clip and add noise (differential privacy).';

const MITIGATION =
  'Withhold the gradients of late convolutions, or use larger batches than their output channels divided by their positions; aggregate securely over many clients, or clip and add noise (differential privacy).';
