/** What the short names of reports mean, a sentence or two each, for readers who have not read the papers. */
const TERMS: Readonly<Record<string, string>> = {
  // Pictures against the true input.
  psnr: 'Peak signal-to-noise ratio against the true input. Above 30 dB the two are hard to tell apart; each 20 dB more is a tenth of the error.',
  'psnr, brightness fitted':
    'The same after the reconstruction was multiplied by the one factor that fits best, because normalisation hides its size.',
  'psnr in 8 bits': 'The same after both were rounded to 256 levels, as in a picture file.',
  ssim: 'Structural similarity to the true input: 1 is identical, 0 is unrelated.',
  mse: 'Mean squared error against the true input, in the units that the network is fed with.',
  lpips: 'Perceptual distance to the true input, by a network: 0 is identical, above about 0.5 unrelated.',
  // Label and feature of a sample.
  confidence: 'Probability that the class is right, under the model of noise and rounding that the audit uses.',
  λ: 'The number that was searched for: the feature is λ times one row of the head’s gradient.',
  'misfit ρ': 'How far the label that follows is from one that is hard, smoothed or mixed: 0 is perfect.',
  'noise floor':
    'The misfit that noise and rounding of the numbers alone would leave. A misfit at or below it is as good as none.',
  'samples alike': 'Samples of one class that this gradient does not tell apart; the feature is their mean.',
  'share of the gradient': 'How much of the head’s gradient is this sample’s own part.',
  'expected feature error': 'Relative error that is expected of the feature.',
  'gradient scaled by':
    'The captured gradient is this many times the one that the loss gives: clipped, or a factor in the loss.',
  zero: 'Share of the numbers that are zero, or nearly, as after ReLU.',
  norm: 'Length of the feature as a vector.',
  // Reconstruction.
  'gradient error':
    'The gradient that the reconstructed input has itself, against the captured one: relative difference over all tensors. 0 is the input itself.',
  'expected error':
    'Root mean square error that the method expects of its result, in the units of the values that it computes.',
  'matching loss':
    'Lowest value that the search reached of what it makes small: the distance between the two gradients, and its penalties.',
  unknowns: 'Numbers to be computed: the input of the layer.',
  equations: 'Equations for them that the layer’s gradient and output give.',
  rank: 'Equations that are independent. Fewer than unknowns leave some of the input open.',
  condition: 'Largest over smallest singular value of the equations: by so much they can enlarge errors.',
  unexplained: 'Share of the layer’s gradient that the computed input does not explain.',
  // Texts.
  'room for tokens':
    'A layer’s gradient can hold as many independent tokens as it has directions; a larger batch would hide its texts from this method.',
  'single tokens':
    'Each token of the vocabulary was tried: a distance near zero means that it occurs. The nearest other token shows how clear the gap is.',
  'beginnings of texts':
    'Texts were extended token by token: a distance near zero means that a beginning occurs. The nearest other one shows how clear the gap is.',
};

export function explanationOfTerm(name: string): string | undefined {
  const key = name.toLowerCase();
  return Object.hasOwn(TERMS, key) ? TERMS[key] : undefined;
}

interface Estimator {
  readonly title: string;
  readonly how: string;
}

/** Estimators of class counts by the name that a report gives them. */
const ESTIMATORS: Readonly<Record<string, Estimator>> = {
  llg: {
    title: 'LLG',
    how: 'Label leakage from gradients: each sample of a class is taken to lower the sum of its row of the head’s gradient by the same amount.',
  },
  e2egi: {
    title: 'E2EGI',
    how: 'As LLG, with the amount that an untrained head gives, for which all classes are equally probable.',
  },
  gradinversion: {
    title: 'GradInversion',
    how: 'Classes whose row of the head’s gradient has the lowest entries below zero; it tells which classes occur, and not how often.',
  },
  'bias-corrected': { title: 'bias sums', how: 'As LLG, from the gradient of the bias.' },
  ilrg: {
    title: 'iLRG',
    how: 'Instance-wise label restoration: the counts that best solve the equations between the bias gradient and the mean predictions.',
  },
  samples: { title: 'one by one', how: 'The samples themselves, which were all found, are counted.' },
};

/** What an estimator of class counts is called, and what it does. */
export function estimatorInWords(name: string): Estimator {
  return (Object.hasOwn(ESTIMATORS, name) ? ESTIMATORS[name] : undefined) ?? { title: name, how: '' };
}

/** How label and feature were found, by the name that a report gives it. */
const SEARCHES: Readonly<Record<string, string>> = {
  'batch-head': 'equations of each sample of the batch',
  'closed-form-bias': 'closed form, from the bias gradient',
  'scalar-scan': 'search for the length of the feature',
  'closed-form-bias-sigmoid': 'closed form, from the bias gradient of a sigmoid head',
  'scalar-scan-sigmoid': 'search for the length of the feature, sigmoid head',
  'paper-lbfgs': 'published search, L-BFGS',
  'paper-pso': 'published search, particle swarms',
  'paper-pso-noise': 'published search for noisy gradients, particle swarms',
};

export function searchInWords(method: string): string {
  return (Object.hasOwn(SEARCHES, method) ? SEARCHES[method] : undefined) ?? method;
}
