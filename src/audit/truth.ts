import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import schema from '../../media/truth.schema.json';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import type { LabelCountReport, SampleReport, TruthComparison } from '../protocol/report.js';
import type { TruthFile } from '../protocol/truth-file.js';
import { isFileName } from '../formats/byte-source.js';
import { readJson, validatorOf } from '../formats/json-file.js';
import { openTensorFile } from '../formats/open.js';
import { lpips } from '../engine/lpips.js';
import { compareImages } from '../recovery/metrics.js';
import { dot, least, most, norm } from '../recovery/vectors.js';
import type { Reconstruction } from '../methods/method.js';

/** Comparing with known labels and features, for researchers; read after the audit unless the user lets the true label in. */

export interface Truth {
  readonly path: string;
  readonly labels: number[][] | undefined;
  readonly feature: number[][] | undefined;
  /** The true inputs, from "image" in the file or image.npy beside it. */
  readonly image: Float64Array | undefined;
}

const MAX_TRUTH_BYTES = 256 * 2 ** 20;

/** What of a sample is compared. */
interface ComparedSample extends Pick<SampleReport, 'multiplicity'> {
  readonly label: { readonly probabilities: readonly number[] };
}

/**
 * Labels, features and counts against the truth; a batch's samples come in no order, so each is compared with its nearest.
 *
 * @param inputs what was reconstructed of each sample, which tells samples of one label apart
 */
export function compareWithTruth(
  truth: Truth,
  samples: readonly ComparedSample[],
  features: readonly Float64Array[],
  inputs: readonly (Float64Array | undefined)[],
  counts: LabelCountReport | null,
): TruthComparison {
  const countErrors = counts && truth.labels ? wrongCounts(counts, truth.labels) : null;
  if ((truth.labels?.length ?? 1) > 1 && samples.length > 0) {
    return { path: truth.path, ...compareBatch(truth, samples, features, inputs), countErrors };
  }
  return {
    path: truth.path,
    samples: samples.map((sample, index) => ({
      labelMaxError: largestDifference(sample.label.probabilities, truth.labels?.[index]),
      featureRelativeError: relativeError(features[index], truth.feature?.[index]),
    })),
    countErrors,
  };
}

/** A recovered label may differ by this much from the true one that it is compared with. */
const SAME_LABEL = 0.1;

function compareBatch(
  truth: Truth,
  samples: readonly ComparedSample[],
  features: readonly Float64Array[],
  inputs: readonly (Float64Array | undefined)[],
): Pick<TruthComparison, 'samples' | 'missed'> {
  const { labels = [], feature = [] } = truth;
  const free = new Set(labels.keys());
  const compared = samples.map((sample, index) => {
    const fitting = [...free].filter(
      (row) => (largestDifference(sample.label.probabilities, labels[row]) ?? 1) <= SAME_LABEL,
    );
    const distance = (row: number): number =>
      relativeError(features[index], feature[row]) ?? unlikeness(inputs[index], trueImage(truth, row));
    const nearest = fitting.sort((one, other) => distance(one) - distance(other)).slice(0, sample.multiplicity ?? 1);
    const [row] = nearest;
    if (row === undefined) {
      return { labelMaxError: null, featureRelativeError: null, truthRow: null };
    }
    for (const taken of nearest) {
      free.delete(taken);
    }
    return {
      labelMaxError: largestDifference(sample.label.probabilities, labels[row]),
      featureRelativeError: relativeError(
        features[index],
        meanOf(nearest.flatMap((own) => (feature[own] ? [feature[own]] : []))),
      ),
      truthRow: row,
    };
  });
  return { samples: compared, missed: free.size };
}

/** 1 - cosine, whatever the size; 0 where there is nothing to compare. */
function unlikeness(found: Float64Array | undefined, truth: Float64Array | undefined): number {
  return truth && found?.length === truth.length
    ? 1 - dot(found, truth) / Math.max(norm(found) * norm(truth), Number.MIN_VALUE)
    : 0;
}

function meanOf(rows: readonly (readonly number[])[]): number[] | undefined {
  return rows[0]?.map((_, col) => rows.reduce((sum, row) => sum + (row[col] ?? NaN), 0) / rows.length);
}

const VALIDATOR = validatorOf<TruthFile>(schema);
const WORDS = {
  expected: 'a JSON object with "labels" [[...K]] and "feature" [[...d]]',
  advice: 'Give the truth file that the capture wrote, or leave it out.',
};

/** @throws UnusableInputError when the file is not such a JSON */
export function readTruth(path: string): Truth {
  const { labels, feature, image } = readJson(path, MAX_TRUTH_BYTES, VALIDATOR, WORDS);
  return {
    path,
    labels: labels ?? undefined,
    feature: feature ?? undefined,
    image: readImage(imageBeside(path, image)),
  };
}

/** Path of the truth that a capture left beside the gradient; undefined where there is none. */
export function truthFileBeside(gradients: string): string | undefined {
  const path = join(dirname(gradients), 'truth.json');
  return existsSync(path) ? path : undefined;
}

/**
 * The truth that a capture left beside the gradient, or one that says why it is not read: nobody asked for it, so it
 * must not end an audit.
 */
export function truthBeside(gradients: string): { truth: Truth } | { problem: string } | undefined {
  const path = truthFileBeside(gradients);
  if (path === undefined) {
    return undefined;
  }
  try {
    return { truth: readTruth(path) };
  } catch (error) {
    return { problem: messageOf(error) };
  }
}

/** Paths that the file names elsewhere are taken for files beside it, as captures are moved. */
export function imageBeside(path: string, image: unknown): string {
  const name = typeof image === 'string' ? basename(image) : '';
  return join(dirname(path), isFileName(name) ? name : 'image.npy');
}

function readImage(path: string): Float64Array | undefined {
  if (!existsSync(path)) {
    return undefined;
  }
  const file = openTensorFile(path);
  try {
    const [entry] = file.entries;
    return entry && file.read(entry.name).data;
  } finally {
    file.close();
  }
}

/** The true input of one sample; the file holds them one after the other. */
export function trueImage({ image, labels }: Truth, row: number): Float64Array | undefined {
  const count = labels?.length ?? 1;
  const size = (image?.length ?? 0) / count;
  return image && Number.isInteger(size) ? image.subarray(row * size, (row + 1) * size) : image;
}

/** Adds how close a reconstruction is to the true input; it was chosen without. */
export async function addImageTruth(
  { report, input }: Reconstruction,
  image: Float64Array | undefined,
  lpipsModel: string | undefined,
): Promise<void> {
  if (input && image?.length === input.length) {
    const { mse, psnr, psnr8bit, psnrFitted, ssim } = compareImages(input, image, report.shape);
    Object.assign(report, {
      mse,
      psnr,
      psnr8bit,
      ...(report.sizeOpen ? { psnrFitted } : {}),
      ...(ssim === null ? {} : { ssim }),
    });
    if (lpipsModel !== undefined) {
      const [low, high] = [least(image), most(image)];
      const scaled = (values: Float64Array): Float32Array =>
        Float32Array.from(values, (value) => Math.min(Math.max((2 * (value - low)) / (high - low || 1) - 1, -1), 1));
      report.lpips = await lpips(lpipsModel, scaled(input), scaled(image), report.shape).catch((error: unknown) => {
        throw new UnusableInputError({
          code: 'bad-arguments',
          file: lpipsModel,
          found: messageOf(error),
          expected: 'an ONNX model that takes two images and gives one number',
          advice: 'Export LPIPS with torch.onnx.export, or leave it out.',
        });
      });
    }
  }
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
    const top = label.indexOf(most(label));
    expected.set(top, (expected.get(top) ?? 0) + 1);
  }
  return counts.agreed.filter((count, index) => count !== (expected.get(index) ?? 0)).length;
}
