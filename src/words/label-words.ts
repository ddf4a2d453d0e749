import type { SampleReport } from '../protocol/report.js';

/** A label in words, the same on every surface: shares are the label's own entries, which sum to one with the smoothed rest. */

/** "ship 73.4 % + dog 21.0 %", or "ship" for a hard label; "class 1 60 to 100 %" where the noise leaves a range. */
export function labelInWords(sample: SampleReport, className: (index: number) => string, most = 3): string {
  const { label } = sample;
  const { classes, probabilities } = label;
  if (classes.length === 0) {
    return 'a dense soft label';
  }
  // The classes of a sigmoid head are on or off, not shares of one label.
  const isShared = label.smoothing > 0 || classes.some(({ weight }) => weight < 1);
  const isOpen = label.kind === 'undetermined';
  const named = classes.slice(0, most).map(({ index, range }, at) => {
    if (isOpen && at === 0 && range) {
      return `${className(index)} (${percentRange(range)})`;
    }
    return isShared && !isOpen ? `${className(index)} (${percent(probabilities[index] ?? 0)})` : className(index);
  });
  const rest = classes.length > most ? ` + ${classes.length - most} more` : '';
  if (isOpen) {
    const others = (label.openKinds ?? []).map((kind) => KIND_WORDS[kind]);
    const kinds = others.length > 1 ? `, ${others.slice(0, -1).join(', ')} or ${others[others.length - 1] ?? ''}` : '';
    return `${named[0] ?? ''}${kinds}: which one cannot be told at this noise`;
  }
  return named.join(' + ') + rest;
}

export const KIND_WORDS: Record<SampleReport['label']['kind'], string> = {
  hard: 'hard',
  smoothed: 'smoothed',
  mixup: 'mixed',
  'mixup-smoothed': 'mixed and smoothed',
  other: 'of another kind',
  undetermined: 'undetermined',
};

/** "73.4 %": one digit after the point, more where it would read as nothing or all. */
export function percent(share: number): string {
  const digits = share > 0 && share < 5e-4 ? 4 : share < 1 && share > 0.9995 ? 4 : 1;
  return `${(100 * share).toFixed(digits)} %`;
}

function percentRange([low, high]: readonly [number, number]): string {
  return `${(100 * low).toFixed(0)} to ${(100 * high).toFixed(0)} % of the label`;
}

/** A probability as a reader trusts it: never more digits than the model of the errors is worth. */
export function confidenceInDigits(confidence: number): string {
  return confidence > 0.999 ? '> 0.999' : confidence.toFixed(3);
}
