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
      return `${className(index)} (${percentRange(range)} of the label)`;
    }
    return isShared && !isOpen ? `${className(index)} (${percent(probabilities[index] ?? 0)})` : className(index);
  });
  const rest = classes.length > most ? ` + ${classes.length - most} more` : '';
  if (isOpen) {
    const others = (label.openKinds ?? []).map((kind) => KIND_WORDS[kind]);
    return others.length > 1
      ? `${named[0] ?? ''}, ${inOr(others)}: which one cannot be told at this noise`
      : `${named[0] ?? ''}, of a kind that cannot be told at this noise`;
  }
  return named.join(' + ') + rest;
}

/** The same where a line has no room for the open kinds. */
export function labelInShort(sample: SampleReport, className: (index: number) => string): string {
  if (sample.label.kind !== 'undetermined') {
    return labelInWords(sample, className, 2);
  }
  const [first] = sample.label.classes;
  return first ? `${className(first.index)}, kind open` : 'kind open';
}

/** "hard, smoothed or mixed". */
function inOr(words: readonly string[]): string {
  return words.length > 1 ? `${words.slice(0, -1).join(', ')} or ${words.at(-1) ?? ''}` : (words[0] ?? '');
}

/** What kind of label it is, after "kind:"; with what smoothing takes away. */
export function kindInWords({ label }: SampleReport): string {
  const { kind, classes, smoothing, smoothingRange, openKinds = [] } = label;
  if (kind === 'undetermined') {
    const kinds = openKinds.length > 1 ? `open, ${inOr(openKinds.map((own) => KIND_WORDS[own]))}` : 'open';
    return smoothingRange ? `${kinds}; epsilon ${numberRange(smoothingRange)}` : kinds;
  }
  if (kind === 'hard' && classes.length > 1) {
    return `hard, ${classes.length} classes on and the others off`;
  }
  const named =
    kind === 'mixup' ? 'mixed (mixup or CutMix)' : kind === 'other' ? 'soft, over many classes' : KIND_WORDS[kind];
  return smoothing > 0 ? `${named}, epsilon = ${smoothing.toPrecision(4)}` : named;
}

/** "0 to 0.31". */
function numberRange([low, high]: readonly [number, number]): string {
  return `${Number(low.toPrecision(2))} to ${Number(high.toPrecision(2))}`;
}

/** How far the class and the kind can be trusted, apart: noise may leave one open and settle the other. */
export function confidenceInWords(sample: SampleReport, className: (index: number) => string): string {
  const { label, status, confidence } = sample;
  const { classConfidence, kindConfidence, kind, openKinds, classes } = label;
  if (status === 'not-identifiable') {
    return 'No label was told, so there is no confidence to give.';
  }
  const [first] = classes;
  if (classConfidence === undefined || !first) {
    return `Confidence ${confidenceInDigits(confidence)}, against the second best solution.`;
  }
  // Of several sigmoids none is the largest.
  const named =
    kind === 'hard' && classes.length > 1
      ? `Confidence in the ${classes.length} classes: ${confidenceInDigits(classConfidence)}`
      : `Confidence in the class (${className(first.index)}): ${confidenceInDigits(classConfidence)}`;
  if (kindConfidence === undefined || kind === 'other') {
    return `${named}.`;
  }
  const probable = openKinds?.[0];
  return kind === 'undetermined'
    ? `${named}. The kind is open${probable ? `, most probably ${KIND_WORDS[probable]} (${confidenceInDigits(kindConfidence)})` : ''}.`
    : `${named}; in the kind (${KIND_WORDS[kind]}): ${confidenceInDigits(kindConfidence)}.`;
}

export const KIND_WORDS: Record<SampleReport['label']['kind'], string> = {
  hard: 'hard',
  smoothed: 'smoothed',
  mixup: 'mixed',
  'mixup-smoothed': 'mixed and smoothed',
  other: 'of another kind',
  undetermined: 'undetermined',
};

/** Four digits after the point of a percentage show no less. */
const LEAST_SHOWN = 5e-7;

/** "73.4 %": one digit after the point, more where it would read as nothing or all. */
export function percent(share: number): string {
  if (share > 0 && share < LEAST_SHOWN) {
    return '< 0.0001 %';
  }
  if (share < 1 && share > 1 - LEAST_SHOWN) {
    return '> 99.9999 %';
  }
  const digits = (share > 0 && share < 5e-4) || (share < 1 && share > 0.9995) ? 4 : 1;
  return `${(100 * share).toFixed(digits)} %`;
}

/** As many digits as tell the ends apart. */
function percentRange([low, high]: readonly [number, number]): string {
  const digits = high - low < 0.002 ? 2 : high - low < 0.02 ? 1 : 0;
  return `${(100 * low).toFixed(digits)} to ${(100 * high).toFixed(digits)} %`;
}

/** What a class has of the label, beside its bar: a range where the kind is open, since each kind says another share. */
export function shareInWords({ label }: SampleReport, index: number): string {
  if (label.kind !== 'undetermined') {
    return percent(label.probabilities[index] ?? 0);
  }
  const range = openRange(label, index);
  return range ? percentRange(range) : 'open';
}

/** The interval of a class's entry where the label's kind is open; undefined where nothing is known but the class. */
export function openRange(
  { kind, classes }: SampleReport['label'],
  index: number,
): readonly [number, number] | undefined {
  return kind === 'undetermined' ? classes.find((own) => own.index === index)?.range : undefined;
}

/**
 * A probability as a reader trusts it: never more digits than the model of the errors is worth.
 *
 * @param confidence null in a report that was read back and whose number was not finite
 */
export function confidenceInDigits(confidence: number | null): string {
  if (confidence === null) {
    return 'unknown';
  }
  return confidence > 0.999 ? '> 0.999' : confidence.toFixed(3);
}
