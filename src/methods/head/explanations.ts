/** How each search of the head comes to a label and a feature, for readers. */
const EXPLANATIONS: Record<string, string> = {
  'batch-head':
    'The head’s gradient of a batch is a sum with one term for each sample: its feature times the error of its prediction, p − y. A feature is accepted when the head’s own prediction for it gives such a term, to within the noise and with the weight of a sample, and when all that are accepted fit each other.',
  'closed-form-bias':
    'The bias gradient is the error of the prediction, p − y: predicted minus true probabilities. The weight gradient divided by it is the feature, so no search was needed.',
  'scalar-scan':
    'Without a bias gradient one unknown number is left, the length of the feature. Every length was tried; only at the true one do all classes outside the label get the same small share.',
  'closed-form-bias-sigmoid':
    'The head has one sigmoid per class; its bias gradient gives the labels and the feature without a search.',
  'scalar-scan-sigmoid':
    'The head has one sigmoid per class; every length of the feature was tried until all classes came out on or off.',
  'paper-lbfgs': 'The published search (Wang, Liang, He, ICLR 2024): L-BFGS on the feature’s length.',
  'paper-pso': 'The published search (Wang, Liang, He, ICLR 2024): L-BFGS, then particle swarms.',
  'paper-pso-noise': 'The published search for noisy gradients (Wang, Liang, He, ICLR 2024): particle swarms.',
};

/** @returns the method's id for one that has no words of its own */
export function explanationOf(method: string): string {
  return EXPLANATIONS[method] ?? method;
}
