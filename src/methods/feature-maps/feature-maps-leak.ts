import type { Certificate, Detail } from '../../protocol/detail.js';
import type { Finding } from '../../protocol/report.js';
import { joined, most } from '../../recovery/vectors.js';
import { mapPicture } from '../map-picture.js';
import type { Leak, NamedArray } from '../method.js';

/** What is told of the inputs of single layers. */

export interface LayerMaps {
  /** Name of the weight. */
  readonly layer: string;
  readonly filters: number;
  readonly batch: number;
  /** channels, rows, columns of one input. */
  readonly input: readonly [number, number, number];
  /** Of the layer's output. */
  readonly positions: number;
  readonly centred: boolean;
  /** Smallest singular value of the gradient's rank over what follows. */
  readonly gap: number;
  /** How far overlapping patches disagree, relative, and the least that any other input would leave. */
  readonly error: number;
  readonly next: number;
  /** One for each sample, up to a factor each; undefined where samples could not be told apart. */
  readonly maps: readonly Float64Array[] | undefined;
  /** Whether no value is negative, as above a rectifier. */
  readonly isRectified: boolean;
}

export type Layers = readonly [LayerMaps, ...LayerMaps[]];

const MOST_LAYERS_DRAWN = 2;
const MOST_SAMPLES_DRAWN = 4;
/** Overlaps of float32 gradients agree to 1e-6. */
const EXACT = 1e-5;

/** @param isOpen whether the file may be the sum of several steps */
export function featureMapsLeak(layers: Layers, isOpen: boolean): Leak {
  const [{ layer: firstName }] = layers;
  const arrays: NamedArray[] = [];
  const pictures: Detail[] = [];
  // Those nearest to the input first: they show most.
  const apart = layers.flatMap(({ maps, ...own }) => (maps ? [{ ...own, maps }] : []));
  apart.forEach(({ layer, input, maps }, at) => {
    arrays.push({ name: `layer-input-${at}`, shape: [maps.length, ...input], data: joined(maps) });
    if (at < MOST_LAYERS_DRAWN) {
      maps.slice(0, MOST_SAMPLES_DRAWN).forEach((values, sample) => {
        const which = maps.length > 1 ? `, sample ${sample + 1}` : '';
        const picture = mapPicture(`layer-input-${at}-${sample}`, `Input of ${layer}${which}`, values, input);
        arrays.push(picture.array);
        pictures.push(picture.detail);
      });
    }
  });
  const what = layers.length === 1 ? `input of ${firstName}` : `inputs of ${layers.length} convolutions`;
  return {
    noun: 'Maps',
    what: `${what}, each from its own gradient alone`,
    brief: `the feature maps that enter ${layers.length === 1 ? firstName : `${layers.length} convolutions`}`,
    title: 'Feature maps, each from one layer’s gradient alone',
    amount: layers.length === 1 ? '1 layer' : `${layers.length} layers`,
    sample: null,
    tensor: firstName,
    certificate: certificateOf(layers),
    gives: { inputs: 0, tokens: 0 },
    details: [{ type: 'text', text: textOf(layers, isOpen) }, tableOf(layers), ...pictures],
    findings: [findingOf(layers)],
    arrays,
  };
}

function certificateOf(layers: Layers): Certificate {
  const error = most(layers.map((own) => own.error));
  return { by: 'equations', error, floor: null, expectedError: null, verdict: error <= EXACT ? 'exact' : 'close' };
}

function textOf(layers: Layers, isOpen: boolean): string {
  const [{ centred }] = layers;
  const mode = centred ? ' The rows hold differences of patches only, as below batch normalisation in train mode.' : '';
  const mixed = layers.filter(({ maps }) => !maps).map(({ layer }) => `\`${layer}\``);
  const open =
    mixed.length > 0
      ? ` The samples' maps of ${mixed.join(', ')} are known as mixtures: too few zeros, or too many samples, to tell them apart.`
      : '';
  const steps = isOpen ? ' If the file is the sum of several steps, a sample counts once for each of them.' : '';
  const groups = layers.some(({ batch }) => batch > 1)
    ? ' Groups of a grouped convolution, and several uses of one layer, count like samples.'
    : '';
  const signed = layers
    .filter(({ isRectified, batch }) => batch === 1 && !isRectified)
    .map(({ layer }) => `\`${layer}\``);
  const turned =
    signed.length > 0
      ? ` What was found of ${signed.join(', ')} has both signs: were that a transposed convolution, it would be the gradient of its output.`
      : '';
  return `Each patch of a convolution's input lies in the space that the rows of its gradient span, and overlapping patches have to agree: that leaves as many inputs as there are samples. No checkpoint, label, loss or other layer takes part. Each map is known up to one factor.${mode}${open}${turned}${groups}${steps}`;
}

function tableOf(layers: Layers): Detail {
  return {
    type: 'table',
    title: 'Layers whose gradient tells their input',
    columns: [
      { title: 'Gradient of' },
      { title: 'Input' },
      { title: 'Samples', isNumber: true },
      {
        title: 'Hidden from',
        hint: 'samples in one gradient from which on the layer has too few output channels for this',
        isNumber: true,
      },
      {
        title: 'Gap of the rank',
        hint: 'smallest singular value of the gradient over the largest that counts as zero',
        isNumber: true,
      },
      { title: 'Overlaps disagree', isNumber: true },
      { title: 'Any other input', hint: 'the least that the overlaps of any other input disagree', isNumber: true },
    ],
    rows: layers.map((own) => ({
      cells: [
        own.layer,
        own.input.join(' x '),
        String(own.batch),
        String(hiddenFrom(own)),
        own.gap.toExponential(0),
        own.error.toExponential(0),
        own.next.toExponential(0),
      ],
    })),
  };
}

/** The smallest number of samples at which the rows no longer leave room. */
function hiddenFrom({ filters, positions, centred }: LayerMaps): number {
  return Math.ceil((filters + Number(centred)) / positions);
}

function findingOf(layers: Layers): Finding {
  // Above a rectifier, what was found can be nothing else.
  const told = layers.filter(({ maps, isRectified }) => maps && isRectified);
  const first = told[0] ?? layers[0];
  const others = layers.filter((own) => own !== first).map(({ layer }) => `\`${layer}\``);
  const more =
    others.length > 0 ? ` The same holds for ${others.slice(0, 8).join(', ')}${others.length > 8 ? ' ...' : ''}.` : '';
  const { layer, batch, input, filters, positions, maps, error, isRectified } = first;
  const what = `its input of ${input.join(' x ')} numbers`;
  const gives = maps
    ? `${what} for ${batch === 1 ? 'the one sample' : `each of ${batch} samples (groups of channels count like samples)`}, up to a factor`
    : `${batch} mixtures of ${what} for ${batch} samples`;
  return {
    id: 'layer-input-computed',
    severity: maps && isRectified ? 'high' : 'medium',
    title: `The gradient of one convolution alone gives away ${maps ? '' : 'mixtures of '}the feature maps that entered it`,
    evidence: `\`${layer}\` has ${filters} output channels at ${positions} positions: its gradient alone tells ${gives}; overlapping patches agree to ${error.toExponential(0)}.${more}`,
    mitigation: `Withhold the gradients of these layers, or sum over at least ${most(layers.map(hiddenFrom))} samples before sharing, which closes this way and leaves others; aggregate securely over many clients, or clip and add noise (differential privacy).`,
  };
}
