import { join } from 'node:path';
import { UnusableInputError } from '../protocol/errors.js';
import { FEATURES_FILE, type HashedFile, type ReconstructionReport, type Report } from '../protocol/report.js';
import { openTensorFile } from '../formats/open.js';
import { encodeNpyArray } from '../formats/write-npy.js';
import { hashTruth } from './input-files.js';
import { REPORT_FILE, readStored, truthFileOf, writeReport } from './output.js';
import { openOutput, removeOutput, writeOutput } from './output-folder.js';
import { type Truth, addImageTruth, compareWithTruth, readTruth, trueImage } from './truth.js';
import { upgradeReport } from './upgrade-report.js';

/**
 * Compares a stored report with a truth that is chosen when all is done. Errors against it are added, those against an earlier
 * truth go; nothing that was recovered, and no verdict, changes.
 *
 * @param folder of the report, which is written anew
 * @param path of the truth
 * @param pause called between the samples and between chunks of files; may throw to stop, and then the report stays as it was
 * @throws UnusableInputError when either cannot be read, the truth is of another model, or nothing was recovered
 */
export async function compareStored(folder: string, path: string, pause: () => Promise<void>): Promise<void> {
  const unlock = openOutput(folder, [REPORT_FILE], false);
  try {
    const report = storedReport(folder);
    const truth = readTruth(path);
    const recovered = recoveredOf(folder, report);
    refuseUnfit(report, recovered, truth);
    const { samples, labelCounts } = report;
    const compared = compareWithTruth(truth, samples, recovered.features, recovered.inputs, labelCounts);
    const images: (Float64Array | undefined)[] = [];
    for (const [index, { reconstruction }] of samples.entries()) {
      const image = trueImage(truth, compared.samples[index]?.truthRow ?? index);
      images.push(reconstruction && (await measured(reconstruction, recovered.inputs[index], image)));
      await pause();
    }
    const hashes = await hashTruth(path, pause);
    writeTruths(folder, report, images);
    writeReport({ out: folder }, withTruth(report, { ...compared, chosenAfterwards: true }, hashes));
  } finally {
    unlock();
  }
}

function storedReport(folder: string): Report {
  const report = upgradeReport(readStored(folder));
  if (!report) {
    throw new UnusableInputError({
      code: 'unreadable-file',
      file: join(folder, REPORT_FILE),
      found: 'no report of this version',
      expected: 'the report of an audit',
      advice: 'Audit the gradient again.',
    });
  }
  return report;
}

/** What an audit recovered, as its folder holds it. */
interface Recovered {
  /** One row per sample. */
  readonly features: readonly Float64Array[];
  readonly inputs: readonly (Float64Array | undefined)[];
}

function recoveredOf(folder: string, { samples }: Report): Recovered {
  const numbers = samples.some(({ feature }) => feature.file !== null) ? numbersOf(folder, FEATURES_FILE) : undefined;
  const length = (numbers?.length ?? 0) / Math.max(samples.length, 1);
  return {
    features: samples.map((_, row) => numbers?.subarray(row * length, (row + 1) * length) ?? new Float64Array()),
    inputs: samples.map(({ reconstruction }, sample) =>
      reconstruction?.file ? numbersOf(folder, `reconstruction-${sample}.npy`) : undefined,
    ),
  };
}

function numbersOf(folder: string, name: string): Float64Array | undefined {
  const file = openTensorFile(join(folder, name));
  try {
    const [entry] = file.entries;
    return entry && file.read(entry.name).data;
  } finally {
    file.close();
  }
}

/** @throws UnusableInputError where no number of the truth has one of the report to be compared with */
function refuseUnfit({ samples, labelCounts, head }: Report, { features, inputs }: Recovered, truth: Truth): void {
  const isLabelled = (samples.length > 0 || labelCounts !== null) && truth.labels?.[0]?.length === head?.classes;
  const isFeatured = features.some(({ length }) => length > 0 && length === truth.feature?.[0]?.length);
  const isDrawn = inputs.some((input) => input !== undefined && input.length === trueImage(truth, 0)?.length);
  if (isLabelled || isFeatured || isDrawn) {
    return;
  }
  const isEmpty = samples.length === 0 && labelCounts === null;
  throw new UnusableInputError({
    code: 'bad-arguments',
    file: truth.path,
    found: isEmpty
      ? 'a truth where nothing was recovered'
      : 'no labels, features or inputs of the sizes that were recovered',
    expected: isEmpty ? 'an audit that recovered labels, features or inputs' : 'the truth of this gradient',
    advice: isEmpty
      ? 'There is nothing to compare it with.'
      : 'Choose the truth.json that was captured with this gradient.',
  });
}

/**
 * Takes errors against an earlier truth out of a reconstruction and puts those against this one in.
 *
 * @returns the true input, where it has the size of the one found
 */
async function measured(
  report: ReconstructionReport,
  input: Float64Array | undefined,
  image: Float64Array | undefined,
): Promise<Float64Array | undefined> {
  delete report.mse;
  delete report.psnr;
  delete report.psnr8bit;
  delete report.psnrFitted;
  delete report.ssim;
  delete report.lpips;
  delete report.truthFile;
  await addImageTruth({ report, input }, image, undefined);
  return input !== undefined && image?.length === input.length ? image : undefined;
}

function writeTruths(folder: string, { samples }: Report, images: readonly (Float64Array | undefined)[]): void {
  samples.forEach(({ reconstruction }, sample) => {
    const image = images[sample];
    const name = truthFileOf(sample);
    if (reconstruction && image) {
      reconstruction.truthFile = name;
      writeOutput(folder, name, encodeNpyArray(image, [1, ...reconstruction.shape]), false);
    } else {
      removeOutput(folder, name);
    }
  });
}

function withTruth(report: Report, truth: NonNullable<Report['truth']>, hashes: readonly HashedFile[]): Report {
  const { files } = report.inputs;
  const others = files?.filter(({ role }) => role !== 'truth');
  return { ...report, truth, inputs: { ...report.inputs, ...(others ? { files: [...others, ...hashes] } : {}) } };
}
