import { allZero } from '../facts/values.js';
import type { CheckStatus, ConsistencyCheck } from '../protocol/report.js';
import { blocksOf } from '../formats/blocks.js';
import type { TensorEntry, TensorFile } from '../formats/tensor-file.js';
import { MAX_BIAS_MISFIT } from '../recovery/head-factors.js';
import type { GradientShape, HeadGradient } from '../recovery/head-gradient.js';
import type { Matching } from '../facts/matching.js';
import { norm } from '../recovery/vectors.js';
import { counted } from '../words/count-words.js';

/** Do checkpoint and gradient belong together? Said before anything is recovered. */

function check(id: string, status: CheckStatus, detail: string): ConsistencyCheck {
  return { id, status, detail };
}

/** What a file's pickle would run when Python loads it. */
export function checkFileSafety(files: readonly TensorFile[]): ConsistencyCheck {
  const risky = files.flatMap((file) => file.foreignGlobals.map((global) => ({ file, global })));
  const dangerous = risky.filter(({ global }) => global.risk === 'dangerous');
  const [worst] = dangerous;
  if (worst) {
    const names = [...new Set(dangerous.map(({ global }) => `${global.module}.${global.name}`))].join(', ');
    return check(
      'file-safety',
      'fail',
      `${worst.file.path} would run ${names} when loaded with torch.load; nothing of it was executed here.`,
    );
  }
  const unknown = risky.filter(({ global }) => global.risk === 'unknown');
  if (unknown.length > 0) {
    const names = [...new Set(unknown.map(({ global }) => `${global.module}.${global.name}`))].slice(0, 5).join(', ');
    return check('file-safety', 'warn', `Loading would import functions that are not PyTorch's own: ${names}.`);
  }
  const classes = [...new Set(risky.map(({ global }) => `${global.module}.${global.name}`))];
  return classes.length > 0
    ? check(
        'file-safety',
        'warn',
        `The file holds whole objects of ${classes.slice(0, 5).join(', ')}${classes.length > 5 ? ', ...' : ''}; torch.load would need weights_only=False for it, which runs code.`,
      )
    : check('file-safety', 'pass', 'The files hold tensors only; loading them runs no code.');
}

/** Names and shapes. */
export function checkMatching(matching: Matching, gradients: TensorFile): ConsistencyCheck {
  const total = gradients.entries.length;
  const which =
    total === 1 && matching.pairs.length === 1
      ? 'The one tensor matches'
      : `${matching.pairs.length} of ${counted(total, 'tensor')} match`;
  const matched = `${which} the checkpoint by ${matching.how === 'names' ? 'name and shape' : 'order and shape'}`;
  if (matching.alternatives.length > 0) {
    return check(
      'names-and-shapes',
      'warn',
      `${matched}, but other parts of the checkpoint fit as well ("${matching.alternatives.join('", "')}"); the first was taken.`,
    );
  }
  const uncertain = matching.pairs.filter(({ certain }) => !certain).length;
  if (uncertain > 0) {
    return check(
      'names-and-shapes',
      'warn',
      `${matched}; ${uncertain} of them fit more than one parameter, so only the others were used.`,
    );
  }
  const left = matching.unmatched.length;
  return left > 0
    ? check(
        'names-and-shapes',
        'warn',
        `${matched}; ${left} have no counterpart (${matching.unmatched[0]?.name ?? ''}${left > 1 ? ', ...' : ''}).`,
      )
    : check('names-and-shapes', 'pass', `${matched}.`);
}

/** Above this, only the head is read: the checks must not cost more than the audit. */
const MOST_BYTES_TO_SCAN = 512 * 2 ** 20;

/**
 * NaN, infinities and layers without gradient.
 *
 * @throws UnusableInputError when all gradients are zero
 */
export function checkValues(
  matching: Matching,
  gradients: TensorFile,
  headNames: ReadonlySet<string>,
): ConsistencyCheck[] {
  const entries = matching.pairs.map(({ gradient }) => gradient);
  const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
  const scanned = bytes <= MOST_BYTES_TO_SCAN ? entries : entries.filter(({ name }) => headNames.has(name));
  if (scanned.length === 0) {
    return [];
  }
  const broken: string[] = [];
  const zero: string[] = [];
  for (const entry of scanned) {
    const what = valuesOf(gradients, entry);
    if (what === 'not-finite') {
      broken.push(entry.name);
    } else if (what === 'zero') {
      zero.push(entry.name);
    }
  }
  if (zero.length === scanned.length) {
    throw allZero(gradients.path, 'every gradient');
  }
  const partly = scanned.length < entries.length ? ' (head only: the file is large)' : '';
  return [
    broken.length > 0
      ? check(
          'finite',
          'fail',
          `NaN or infinite values in ${listed(broken)}: mixed-precision overflow or a diverged step.`,
        )
      : check('finite', 'pass', `All values are finite${partly}.`),
    zero.length > 0
      ? check('nonzero', 'warn', `No gradient in ${listed(zero)}: frozen, unused, or dead units.`)
      : check('nonzero', 'pass', `Every layer has a gradient${partly}.`),
  ];
}

function valuesOf(file: TensorFile, entry: TensorEntry): 'not-finite' | 'zero' | 'some' {
  let isZero = true;
  for (const { values } of blocksOf(file, entry)) {
    if (!values.every(Number.isFinite)) {
      return 'not-finite';
    }
    isZero &&= values.every((value) => value === 0);
  }
  return isZero ? 'zero' : 'some';
}

function listed(names: readonly string[]): string {
  return `${names.length} ${names.length === 1 ? 'tensor' : 'tensors'} (${names.slice(0, 3).join(', ')}${names.length > 3 ? ', ...' : ''})`;
}

/** A sum larger than this share of the gradient is no evidence of softmax cross-entropy, whatever noise explains. */
const TELLING_SUM = 1e-2;

/** 1^T G = 0, 1^T g_b = 0, and that bias and weight gradient tell of the same samples. */
export function checkSums(
  head: HeadGradient,
  shape: GradientShape,
  biasMisfit: number,
  isOneTold: boolean,
): ConsistencyCheck[] {
  const checks: ConsistencyCheck[] = [];
  const sum = shape.columnSum;
  const allowed = Math.max(1e-5, 4 * shape.columnSumFloor);
  checks.push(
    sum > TELLING_SUM && sum <= allowed
      ? check(
          'softmax-sum',
          'warn',
          `Whether the head's gradient sums to zero over the classes cannot be told: the sum is ${sum.toExponential(1)} of its size, and noise alone gives about that much.`,
        )
      : sum <= allowed
        ? check(
            'softmax-sum',
            'pass',
            `The head's gradient sums to zero over the classes (${shareOf(sum)}), as that of softmax cross-entropy does.`,
          )
        : check(
            'softmax-sum',
            'warn',
            `The head's gradient does not sum to zero over the classes (${shareOf(sum)}): noise, pruning, or sigmoid outputs.`,
          ),
  );
  const { biasGradient } = head;
  if (biasGradient && norm(biasGradient) > 0) {
    const total = Math.abs(biasGradient.reduce((all, value) => all + value, 0)) / norm(biasGradient);
    const noise = (4 * shape.noise * Math.sqrt(biasGradient.length)) / norm(biasGradient);
    checks.push(
      total <= Math.max(1e-5, noise, 8 * head.roundoff)
        ? check('bias-sum', 'pass', `The bias gradient sums to zero (${shareOf(total)}).`)
        : check('bias-sum', 'warn', `The bias gradient does not sum to zero (${shareOf(total)}).`),
    );
    if (shape.nature !== 'batch') {
      checks.push(
        biasMisfit <= MAX_BIAS_MISFIT
          ? check(
              'bias-agrees',
              'pass',
              isOneTold ? 'Bias and weight gradient are of the same sample.' : 'Bias and weight gradient fit together.',
            )
          : check(
              'bias-agrees',
              'warn',
              'Bias and weight gradient do not fit one sample together; the bias gradient was not used.',
            ),
      );
    }
  }
  return checks;
}

/** Of the gradient's own size. */
function shareOf(ratio: number): string {
  return ratio === 0 ? 'exactly' : `${ratio.toExponential(1)} of its size`;
}

/** How precise the numbers are. */
export function checkPrecision(head: HeadGradient, stored: number): ConsistencyCheck {
  const bits = (roundoff: number): number => Math.round(-Math.log2(roundoff));
  return head.roundoff > stored * 1.5
    ? check(
        'precision',
        'warn',
        `The gradient's numbers carry only ${bits(head.roundoff)} significant bits although their type has ${bits(stored)}: it was computed or transmitted in lower precision.`,
      )
    : check(
        'precision',
        head.roundoff > 2 ** -16 ? 'warn' : 'pass',
        `The gradient's numbers carry ${bits(head.roundoff)} significant bits.`,
      );
}

/**
 * What the rank says of the number of samples.
 *
 * @param isOne whether the head tells that there is one sample, and not one that alone adds something
 */
export function checkRank(shape: GradientShape, isOneTold: boolean, isOne: boolean): ConsistencyCheck {
  const ratio = shape.rankOne.residual / shape.rankOne.total;
  const share = shareOf(ratio);
  const rankOne = ratio === 0 ? 'rank one' : `rank one (but for ${share})`;
  if (!isOneTold) {
    return check('rank', 'warn', `The head's gradient has ${rankOne}, which tells no number of samples here.`);
  }
  if (shape.nature === 'single') {
    const of = isOne ? 'a single sample' : 'a single sample, or of a batch in which the others add nothing';
    return check('rank', 'pass', `The head's gradient has ${rankOne}: it is of ${of}.`);
  }
  if (shape.nature === 'hidden') {
    return check(
      'rank',
      'warn',
      "The head's gradient looks like noise alone; how many samples it is of cannot be told.",
    );
  }
  return shape.nature === 'single-noisy'
    ? check(
        'rank',
        'warn',
        `The head's gradient has rank one plus independent noise (${share}): a single sample with noise added.`,
      )
    : check('rank', 'pass', `The head's gradient is not of rank one (${share} is left): it is of several samples.`);
}
