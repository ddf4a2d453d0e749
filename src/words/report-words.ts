import type { Report, SampleReport } from '../protocol/report.js';

/** Numbers and names as people read them. */

export function className(report: Report, index: number): string {
  return report.classNames?.[index] ?? `class ${index}`;
}

export function percent(share: number, digits = 2): string {
  return `${(100 * share).toFixed(digits)} %`;
}

export function short(value: number): string {
  if (value === 0) {
    return '0';
  }
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(5)));
}

export function baseName(path: string): string {
  return path.split(/[\\/]/).pop() ?? path;
}

const KINDS: Record<SampleReport['label']['kind'], string> = {
  hard: 'a hard label',
  smoothed: 'a smoothed label',
  mixup: 'a mixed label (mixup or CutMix)',
  'mixup-smoothed': 'a mixed and smoothed label',
  other: 'a soft label of another kind',
  undetermined: 'a label whose kind the gradient leaves open',
};

export function kindInWords({ label }: SampleReport): string {
  if (label.kind === 'hard' && label.classes.length > 1) {
    return `${label.classes.length} classes on, the others off`;
  }
  return label.smoothing > 0 ? `${KINDS[label.kind]}, ε = ${label.smoothing.toPrecision(5)}` : KINDS[label.kind];
}

const METHODS: Record<string, string> = {
  'batch-head':
    'Each sample of a batch solves its own equations: its feature lies in the row space of the head’s gradient, and p − y of that feature in its column space. Solutions count when they fit to the noise, weigh in the gradient what a sample weighs, and do not contradict each other.',
  'closed-form-bias':
    'The bias gradient is p − y itself, and the weight gradient divided by it is the feature: no search was needed.',
  'scalar-scan':
    'Without a bias gradient one unknown number is left, the length of the feature. Every length was tried; only the true one makes the label flat but for the classes that stand out.',
  'closed-form-bias-sigmoid':
    'The head has one sigmoid per class; its bias gradient gives the labels and the feature without a search.',
  'scalar-scan-sigmoid':
    'The head has one sigmoid per class; every length of the feature was tried until all classes came out on or off.',
  'paper-lbfgs': 'The published search (Wang, Liang, He, ICLR 2024): L-BFGS on the feature’s length.',
  'paper-pso': 'The published search (Wang, Liang, He, ICLR 2024): L-BFGS, then particle swarms.',
  'paper-pso-noise': 'The published search for noisy gradients (Wang, Liang, He, ICLR 2024): particle swarms.',
};

export function methodInWords(method: string): string {
  return METHODS[method] ?? method;
}

export function confidenceInWords({ confidence, status }: SampleReport): string {
  if (status === 'not-identifiable') {
    return 'Nothing to be confident about.';
  }
  if (confidence >= 0.999) {
    return 'As good as certain: no other solution comes near.';
  }
  if (confidence >= 0.95) {
    return 'Very likely: the next best solution fits clearly worse.';
  }
  return confidence >= 0.6 ? 'Likely, but another solution fits almost as well.' : 'Open: several solutions fit alike.';
}

/** The report in a few lines, for the clipboard. */
export function summaryOf(report: Report): string {
  return [
    report.verdict.sentence,
    `Checkpoint: ${report.inputs.checkpoint.path}`,
    `Gradient: ${report.inputs.gradients.path}`,
    report.head
      ? `Head: ${report.head.weight}, ${report.head.classes} classes x ${report.head.features} features`
      : 'Head: none found',
    ...report.samples.map(
      (sample, index) =>
        `Sample ${index + 1}: ${sample.status}, ${kindInWords(sample)}: ${sample.label.classes
          .map((entry) => `${className(report, entry.index)} ${percent(entry.weight)}`)
          .join(', ')}`,
    ),
    ...report.findings.map(({ severity, title }) => `${severity}: ${title}`),
  ].join('\n');
}
