/** Settings of gradient matching; the published attacks are presets of it. */

export interface MatchingSettings {
  /** Distance between gradients: sum of squared differences, or 1 - cosine over all parameters together. */
  readonly distance: 'l2' | 'cosine';
  /** What is matched: gradients, the recovered last-layer feature, or both. */
  readonly terms: 'g' | 'f' | 'gf';
  /** Weight of the feature term. */
  readonly featureWeight: number;
  /**
   * Labels: as recovered; its most likely class (`hard`); optimised together with the image (`free`); the true one,
   * for research with a truth file.
   */
  readonly labels: 'recovered' | 'hard' | 'free' | 'true';
  /** Weight of anisotropic total variation, mean |dx| + mean |dy|. */
  readonly totalVariation: number;
  /** Weight of the distance to the running statistics of batch normalisation. */
  readonly normPrior: number;
  readonly optimiser: 'adam' | 'lbfgs';
  readonly learningRate: number;
  /** Steps of Adam, or outer steps of L-BFGS with up to 20 inner ones. */
  readonly iterations: number;
  /** Adam steps by the gradient's sign alone. */
  readonly signed: boolean;
  /** Learning rate x 0.1 after 3/8, 5/8 and 7/8 of the iterations. */
  readonly decay: boolean;
  /** Independent starts; the one with the lowest matching loss is kept. */
  readonly restarts: number;
  readonly seed: number;
}

export type PresetName = 'dlg' | 'idlg' | 'inverting-gradients' | 'soft-label';

const COMMON = { terms: 'g', featureWeight: 1, normPrior: 0, restarts: 1, seed: 0 } as const;

export const PRESETS: Readonly<Record<PresetName, MatchingSettings>> = {
  /** Zhu, Liu, Han, "Deep Leakage from Gradients", NeurIPS 2019. */
  dlg: {
    ...COMMON,
    distance: 'l2',
    labels: 'free',
    totalVariation: 0,
    optimiser: 'lbfgs',
    learningRate: 1,
    iterations: 300,
    signed: false,
    decay: false,
  },
  /** Zhao, Mopuri, Bilen, "iDLG", arXiv 2001.02610. */
  idlg: {
    ...COMMON,
    distance: 'l2',
    labels: 'hard',
    totalVariation: 0,
    optimiser: 'lbfgs',
    learningRate: 1,
    iterations: 300,
    signed: false,
    decay: false,
  },
  /** Geiping et al., "Inverting Gradients", NeurIPS 2020. */
  'inverting-gradients': {
    ...COMMON,
    distance: 'cosine',
    labels: 'hard',
    totalVariation: 1e-2,
    optimiser: 'adam',
    learningRate: 0.1,
    iterations: 4800,
    signed: true,
    decay: true,
  },
  /** Wang, Liang, He, ICLR 2024: the same with the label, and here the feature, recovered before. */
  'soft-label': {
    ...COMMON,
    distance: 'cosine',
    terms: 'gf',
    labels: 'recovered',
    totalVariation: 1e-3,
    optimiser: 'adam',
    learningRate: 0.1,
    iterations: 4800,
    signed: true,
    decay: true,
  },
};
