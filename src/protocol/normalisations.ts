import { UnusableInputError, type UnusableInputParts } from './errors.js';

/** How inputs were normalised, per channel: what a network sees is (x - mean) / std. */
export interface Normalisation {
  mean: number[];
  std: number[];
}

/** How inputs of well-known datasets are normalised. */
export const NORMALISATIONS = {
  cifar10: { mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.2435, 0.2616] },
  imagenet: { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
};

/** `capture`: as the notes on the capture say; `none`: a picture's own range; `custom`: a mean and a deviation of the user's. */
export const NORMALISATION_CHOICES = ['capture', 'none', 'cifar10', 'imagenet', 'custom'] as const;

/**
 * What a choice stands for in a request.
 *
 * @param custom the user's own numbers, one for each channel
 * @param where they were given, for the error
 * @returns undefined for what the capture says, null for none
 * @throws UnusableInputError for numbers of the user's that do not normalise
 */
export function chosenNormalisation(
  choice: (typeof NORMALISATION_CHOICES)[number],
  custom: Normalisation,
  where: Pick<UnusableInputParts, 'file' | 'advice'>,
): Normalisation | null | undefined {
  switch (choice) {
    case 'capture':
      return undefined;
    case 'none':
      return null;
    case 'cifar10':
    case 'imagenet':
      return NORMALISATIONS[choice];
    case 'custom':
      return checked(custom, where);
  }
}

function checked(custom: Normalisation, where: Pick<UnusableInputParts, 'file' | 'advice'>): Normalisation {
  const { mean, std } = custom;
  if (mean.length === 0 || mean.length !== std.length || !mean.every(Number.isFinite) || !std.every((own) => own > 0)) {
    throw new UnusableInputError({
      code: 'bad-arguments',
      ...where,
      found: `a mean of [${mean.join(', ')}] and a standard deviation of [${std.join(', ')}]`,
      expected: 'as many numbers in both, one for each channel, and deviations above 0',
    });
  }
  return custom;
}
