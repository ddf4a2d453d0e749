import type { Certificate, Detail } from '../../protocol/detail.js';
import type { Normalisation } from '../../protocol/normalisations.js';
import type { Finding } from '../../protocol/report.js';
import { floorOf } from '../../recovery/vit/judge-patches.js';
import type { Leak, NamedArray } from '../method.js';
import type { PatchPicture } from './picture-of-patches.js';
import type { RecoveredPatches } from './recover-patches.js';

/** What is told of the image that a transformer's two embeddings give away. */

export interface PatchesToTell {
  readonly recovered: RecoveredPatches;
  readonly verdict: Certificate['verdict'];
  /** Undefined where the patches' arrangement is not known. */
  readonly picture: PatchPicture | undefined;
  readonly normalisation: Normalisation | undefined;
  /** Index of the sample whose input this is, which then shows it; null where the head tells none, or several. */
  readonly sample: number | null;
  /** Whether what the patch embedding reads is the network's input: a layer before it would give it other channels. */
  readonly isInput: boolean;
}

export function patchesLeak(told: PatchesToTell): Leak {
  const { recovered, verdict, picture, sample, isInput } = told;
  const { weight, patches, numbers, solved, roundoff } = recovered;
  const size = picture ? picture.shape.join(' x ') : `${patches} patches of ${numbers}`;
  const what = isInput ? 'the input image' : 'what enters the patch embedding';
  return {
    noun: 'Image',
    what: `${what}, ${size} numbers, from \`${recovered.position.name}\` and \`${weight.name}\``.replaceAll('`', ''),
    brief: what,
    title: isInput ? 'The image, from two tensors of the gradient' : 'Patches, from two tensors of the gradient',
    amount: `${patches} patches`,
    sample,
    tensor: weight.name,
    certificate: {
      by: 'equations',
      error: solved.residual,
      floor: floorOf(roundoff),
      expectedError: solved.expectedError,
      verdict,
    },
    gives: { inputs: isInput ? 1 : 0, tokens: 0 },
    details: [{ type: 'text', text: textOf(told) }, factsOf(recovered), ...picturesOf(told)],
    findings: [findingOf(told, what, size)],
    arrays: arraysOf(told),
  };
}

const FILE = 'patches';

function picturesOf({ picture, sample, normalisation }: PatchesToTell): Detail[] {
  // A sample shows its input itself.
  return picture && sample === null
    ? [
        {
          type: 'picture',
          title: `Image of ${picture.shape.join(' x ')}`,
          shape: [...picture.shape],
          file: `${FILE}.npy`,
          ...(normalisation ? { normalisation } : {}),
        },
      ]
    : [];
}

function arraysOf({ recovered, picture, sample }: PatchesToTell): NamedArray[] {
  if (!picture) {
    return [{ name: FILE, shape: [recovered.patches, recovered.numbers], data: recovered.solved.patches }];
  }
  return sample === null ? [{ name: FILE, shape: [1, ...picture.shape], data: picture.values }] : [];
}

function textOf({ recovered, picture }: PatchesToTell): string {
  const { position, weight, patches, width, leading, misfit } = recovered;
  const tokens = leading > 0 ? `, without the ${leading === 1 ? 'class token' : `${leading} tokens`} before them` : '';
  const factor =
    misfit === null
      ? ' No bias or class token confirms that both were scaled alike: were they not, it is right up to one factor.'
      : '';
  const open = picture
    ? ''
    : ' How the patches are arranged is not known, or they overlap, so they are not shown as one image; the shape of one input may tell.';
  return `The gradient of \`${weight.name}\` is the sum of each patch times the gradient of its row of \`${position.name}\`${tokens}: ${width} equations for ${patches} unknowns, for each number of a patch. Neither checkpoint, label nor any other layer takes part.${factor}${open}`;
}

function factsOf({ solved, roundoff }: RecoveredPatches): Detail {
  const { residual, expectedError, worstError, spread } = solved;
  const short = (value: number): string => value.toExponential(1);
  return {
    type: 'facts',
    facts: [
      { name: 'left over by the equations', value: `${short(residual)}, rounding ${short(floorOf(roundoff))}` },
      { name: 'expected error', value: `${short(expectedError)}, in numbers that spread by ${short(spread)}` },
      { name: 'of the worst patch', value: short(worstError) },
    ],
  };
}

function findingOf({ recovered, verdict }: PatchesToTell, what: string, size: string): Finding {
  const { position, weight, solved, leading, patches } = recovered;
  return {
    id: 'patches-computed',
    severity: 'high',
    title: `The gradients of the patch embedding and of the position embedding give away ${what}${verdict === 'exact' ? '' : ', up to an error that is stated'}`,
    evidence: `${size} numbers by least squares of \`${weight.name}\` and \`${position.name}\` (${patches} patches, ${leading} other tokens), each to an expected error of ${solved.expectedError.toExponential(1)}; the equations leave ${solved.residual.toExponential(1)}, so the gradient is of one sample${verdict === 'exact' ? '' : ', or of one that outweighs all others by far'}.`,
    mitigation:
      'Freeze the position embedding or the patch embedding on clients, or withhold the gradient of either: that closes this way and leaves others. A sum over two samples or more hides them from it too; aggregate securely over many clients, or clip and add noise (differential privacy).',
  };
}
