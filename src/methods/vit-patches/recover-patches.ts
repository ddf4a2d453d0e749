import { roundoffOf } from '../../facts/values.js';
import { type TensorEntry, type TensorFile, elementCount, isFloating } from '../../formats/tensor-file.js';
import { norm } from '../../recovery/vectors.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import { effectiveRoundoff } from '../../recovery/head-gradient.js';
import { transposed } from '../../recovery/linear-algebra.js';
import type { Pause } from '../../recovery/pause.js';
import { type PatchVerdict, judgePatches } from '../../recovery/vit/judge-patches.js';
import { leadingTokens } from '../../recovery/vit/leading-tokens.js';
import { type SolvedPatches, solvePatches } from '../../recovery/vit/solve-patches.js';
import type { EmbeddingTensors } from './embedding-tensors.js';

/** The patches that two tensors of a gradient give, judged. */
export interface RecoveredPatches extends EmbeddingTensors {
  readonly solved: SolvedPatches;
  readonly verdict: PatchVerdict;
  /** Class, distillation and register tokens. */
  readonly leading: number;
  readonly patches: number;
  /** Of the equations that hold for any number of samples; null where the gradient holds none. */
  readonly misfit: number | null;
  /** Unit roundoff of the coarser tensor, as its numbers show it. */
  readonly roundoff: number;
}

/** Larger tensors are left alone: they take more than a gigabyte, or minutes, to solve. */
const MOST_ELEMENTS = 2 ** 24;
const MOST_TOKENS = 2048;
/** Equations of one unknown that are left over to judge it by. */
const FEWEST_LEFT = 4;
/** Tensors of d numbers that are looked through for class tokens. */
const MOST_OTHERS = 512;

/**
 * @param absoluteError standard deviation of what every number errs by beside its own rounding
 * @param isGuess what is before the patches is told from their number where the gradient does not tell it
 * @returns a sentence where nothing was solved
 */
export async function recoverPatches(
  gradients: TensorFile,
  pair: EmbeddingTensors,
  product: ProductKernel,
  pause: Pause,
  { absoluteError, isGuess }: { readonly absoluteError: number; readonly isGuess: boolean },
): Promise<RecoveredPatches | string> {
  const { position, weight, bias, tokens, width, numbers } = pair;
  const names = `\`${position.name}\` and \`${weight.name}\``;
  if (Math.max(elementCount(position.shape), elementCount(weight.shape)) > MOST_ELEMENTS || tokens > MOST_TOKENS) {
    return `${names} are too large: more than ${MOST_ELEMENTS} numbers, or ${MOST_TOKENS} tokens.`;
  }
  const [rows, stored] = [gradients.read(position.name).data, gradients.read(weight.name).data];
  if (![rows, stored].every((data) => data.every(Number.isFinite))) {
    return `${names} hold numbers that are not finite.`;
  }
  if ([rows, stored].some((data) => data.every((value) => value === 0))) {
    return `${names} hold only zeros: nothing reached them, as with a head that starts at zero.`;
  }
  const leading =
    leadingTokens(
      { rows: tokens, cols: width, data: rows },
      bias && gradients.read(bias.name).data,
      bias ? [] : othersOf(gradients, pair),
    ) ?? (isGuess ? { count: tokens - Math.floor(Math.sqrt(tokens)) ** 2, misfit: null } : undefined);
  if (!leading) {
    return `The gradient of \`${bias?.name ?? ''}\` is not the sum of the rows of \`${position.name}\`: something lies between both, they were scaled apart, or noise was added.`;
  }
  const patches = tokens - leading.count;
  if (patches > width - FEWEST_LEFT) {
    return `${names} hold ${width} equations for ${patches} patches: too few to compute them and to tell whether they are right.`;
  }
  if (patches < 1) {
    return `${names} hold no patch.`;
  }
  const solved = await solvePatches(
    { rows: patches, cols: width, data: rows.slice(leading.count * width) },
    { rows: numbers, cols: width, data: pair.widthLast ? stored : transposed(stored, width, numbers) },
    product,
    pause,
  );
  if (!solved) {
    return `The rows of \`${position.name}\` depend on each other: some patches have no gradient of their own.`;
  }
  const relative = (data: Float64Array): number => (absoluteError * Math.sqrt(data.length)) / norm(data);
  const roundoff = Math.max(
    effectiveRoundoff(rows, roundoffOf(position.dtype)),
    effectiveRoundoff(stored, roundoffOf(weight.dtype)),
    relative(rows),
    relative(stored),
  );
  const { count, misfit } = leading;
  return {
    ...pair,
    solved,
    verdict: judgePatches(solved, misfit, roundoff),
    leading: count,
    misfit,
    patches,
    roundoff,
  };
}

/** Tensors of d numbers, among which class tokens may be. */
function othersOf(gradients: TensorFile, { position, width }: EmbeddingTensors): Float64Array[] {
  const isOther = (entry: TensorEntry): boolean =>
    isFloating(entry.dtype) && entry !== position && elementCount(entry.shape) === width;
  return gradients.entries
    .filter(isOther)
    .slice(0, MOST_OTHERS)
    .map(({ name }) => gradients.read(name).data);
}
