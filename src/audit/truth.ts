import { readFileSync, statSync } from 'node:fs';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import type { LabelCountReport, SampleReport, TruthComparison } from '../protocol/report.js';

/** Comparing with known labels and features, for researchers; runs after the audit, so it cannot influence it. */

interface Truth {
  readonly labels: number[][] | undefined;
  readonly feature: number[][] | undefined;
}

const MAX_TRUTH_BYTES = 256 * 2 ** 20;

/** @throws UnusableInputError when the file is not such a JSON */
export function compareWithTruth(
  path: string,
  samples: readonly SampleReport[],
  features: readonly Float64Array[],
  counts: LabelCountReport | null,
): TruthComparison {
  const truth = readTruth(path);
  return {
    path,
    samples: samples.map((sample, index) => ({
      labelMaxError: largestDifference(sample.label.probabilities, truth.labels?.[index]),
      featureRelativeError: relativeError(features[index], truth.feature?.[index]),
    })),
    countErrors: counts && truth.labels ? wrongCounts(counts, truth.labels) : null,
  };
}

function readTruth(path: string): Truth {
  let value: unknown;
  try {
    if (statSync(path).size > MAX_TRUTH_BYTES) {
      throw new Error('the file is too large');
    }
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw unusable(path, messageOf(error));
  }
  if (typeof value !== 'object' || value === null) {
    throw unusable(path, 'no JSON object');
  }
  const { labels, feature } = value as Record<string, unknown>;
  return { labels: rowsOf(path, labels), feature: rowsOf(path, feature) };
}

function rowsOf(path: string, value: unknown): number[][] | undefined {
  if (value === undefined || value === null) {
    return undefined;
  }
  const isRow = (row: unknown): row is number[] => Array.isArray(row) && row.every((item) => typeof item === 'number');
  if (!Array.isArray(value) || !value.every(isRow)) {
    throw unusable(path, 'labels or feature that are not lists of rows of numbers');
  }
  return value;
}

function unusable(path: string, found: string): UnusableInputError {
  return new UnusableInputError({
    code: 'malformed-file',
    file: path,
    found,
    expected: 'a JSON object with "labels" [[...K]] and "feature" [[...d]]',
    advice: 'Give the truth file that the capture wrote, or leave --truth out.',
  });
}

function largestDifference(found: readonly number[], expected: readonly number[] | undefined): number | null {
  if (expected?.length !== found.length) {
    return null;
  }
  return found.reduce((most, value, index) => Math.max(most, Math.abs(value - (expected[index] ?? NaN))), 0);
}

function relativeError(found: Float64Array | undefined, expected: readonly number[] | undefined): number | null {
  if (!found || expected?.length !== found.length) {
    return null;
  }
  let difference = 0;
  let size = 0;
  expected.forEach((value, index) => {
    difference += (value - (found[index] ?? NaN)) ** 2;
    size += value * value;
  });
  return Math.sqrt(difference / size);
}

function wrongCounts(counts: LabelCountReport, labels: readonly (readonly number[])[]): number {
  const expected = new Map<number, number>();
  for (const label of labels) {
    const top = label.indexOf(Math.max(...label));
    expected.set(top, (expected.get(top) ?? 0) + 1);
  }
  return counts.agreed.filter((count, index) => count !== (expected.get(index) ?? 0)).length;
}
