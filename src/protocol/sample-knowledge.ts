import type { SampleReport, Severity } from './report.js';

/** What a report knows of a sample, in steps. */

/** A class whose posterior probability is at least this is called sure. */
export const SURE_CLASS = 0.99;

/** `class`: the class is sure and the rest of the label open; `guess`: another class may be right; `none`: no label was told. */
export type LabelKnowledge = 'recovered' | 'class' | 'guess' | 'none';

/** `direction`: known up to its length; `sum`: only a sum over samples is, up to its length. */
export type FeatureKnowledge = 'known' | 'estimated' | 'direction' | 'sum';

export function labelKnowledge({ status, label, confidence }: SampleReport): LabelKnowledge {
  switch (status) {
    case 'recovered':
      return 'recovered';
    case 'ambiguous':
      return (label.classConfidence ?? confidence) >= SURE_CLASS ? 'class' : 'guess';
    case 'not-identifiable':
      return 'none';
  }
}

/** The feature follows from the bias gradient whatever the label is; without one it is as sure as the label. */
export function featureKnowledge(sample: SampleReport): FeatureKnowledge {
  const label = labelKnowledge(sample);
  if (label === 'none') {
    return sample.mayBeSeveral ? 'sum' : 'direction';
  }
  if (label !== 'guess' || sample.method === 'closed-form-bias') {
    return 'known';
  }
  return sample.featureError === undefined ? 'direction' : 'estimated';
}

export const LABEL_SEVERITY: Record<Exclude<LabelKnowledge, 'none'>, Severity> = {
  recovered: 'high',
  class: 'high',
  guess: 'low',
};

export const FEATURE_SEVERITY: Record<FeatureKnowledge, Severity> = {
  known: 'high',
  estimated: 'medium',
  direction: 'medium',
  sum: 'medium',
};
