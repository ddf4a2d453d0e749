import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { AuditRequest } from '../protocol/audit-request.js';
import type { PanelImage } from '../protocol/panel-messages.js';
import { FEATURES_FILE, type Report } from '../protocol/report.js';
import { isFileName } from '../formats/byte-source.js';
import { parseJson, readBounded } from '../formats/json-file.js';
import { encodeNpy, encodeNpyArray } from '../formats/write-npy.js';
import { openOutput, writeOutput } from './output-folder.js';
import type { NamedArray, Reconstruction } from '../methods/method.js';
import { encodePicture, isImage } from '../formats/write-picture.js';

/** The report's folder. Files that GradLeak did not write are never replaced without `--force`. */

export const REPORT_FILE = 'report.json';
const MOST_REPORT_BYTES = 256 * 2 ** 20;

/**
 * @returns what unlocks the folder; undefined where nothing is written
 * @throws UnusableInputError when the folder cannot be made, holds somebody else's files, or another audit writes to it
 */
export function prepareFolder({ out, force }: Pick<AuditRequest, 'out' | 'force'>): (() => void) | undefined {
  const names = [REPORT_FILE, FEATURES_FILE, 'reconstruction-0.npy', 'reconstruction-0.png', truthFileOf(0)];
  return out === undefined ? undefined : openOutput(out, names, force === true);
}

/** What `report.json` of a folder holds, of an audit or a project; undefined when there is none that can be read. */
export function readStored(out: string): unknown {
  try {
    return readReport(join(out, REPORT_FILE));
  } catch {
    return undefined;
  }
}

/** What a report's file holds. @throws Error with a part of a sentence, when it cannot be read or is no JSON */
export function readReport(path: string): unknown {
  return parseJson(readBounded(path, MOST_REPORT_BYTES));
}

/** Writes the report last: one on disk always finds what it refers to. */
export function writeResults(
  { out, force }: { readonly out: string; readonly force?: boolean },
  report: Report,
  { features, arrays, images }: Results,
): void {
  const write: Write = (name, content) => {
    writeOutput(out, name, content, force === true);
  };
  if (features.length > 0) {
    write(FEATURES_FILE, encodeNpy(features));
  }
  for (const image of images) {
    writeImages(write, image);
  }
  for (const { name, shape, data } of arrays) {
    write(arrayFile(name), encodeNpyArray(data, shape));
  }
  writeReport({ out, force: force === true }, report);
}

/** The report alone, into a folder that holds what it refers to. */
export function writeReport({ out, force }: { readonly out: string; readonly force?: boolean }, report: Report): void {
  writeOutput(out, REPORT_FILE, `${JSON.stringify(report, undefined, 1)}\n`, force === true);
}

/** Name of the true input of a sample. */
export function truthFileOf(sample: number): string {
  return `truth-${sample}.npy`;
}

type Write = (name: string, content: string | Uint8Array) => void;

/** What belongs to a report and is too large for it. */
export interface Results {
  /** One row per sample. */
  readonly features: readonly Float64Array[];
  readonly arrays: readonly NamedArray[];
  readonly images: readonly ImageResults[];
}

export function arrayFile(name: string): string {
  return `${name}.npy`;
}

export interface ImageResults {
  /** Index of the sample. */
  readonly sample: number;
  readonly reconstruction: Reconstruction;
  readonly truth: Float64Array | undefined;
}

function writeImages(write: Write, { sample, reconstruction, truth }: ImageResults): void {
  const { report, input } = reconstruction;
  if (!input) {
    return;
  }
  report.file = `reconstruction-${sample}.npy`;
  write(report.file, encodeNpyArray(input, [1, ...report.shape]));
  if (isImage(report.shape)) {
    report.preview = `reconstruction-${sample}.png`;
    write(report.preview, encodePicture(input, report.shape, report.normalisation));
  }
  if (truth?.length === input.length) {
    report.truthFile = truthFileOf(sample);
    write(report.truthFile, encodeNpyArray(truth, [1, ...report.shape]));
  }
}

/** Pictures of a written report, as the panel takes them; those whose files are gone are left out. */
export function readImages(out: string, report: Report): PanelImage[] {
  const ofSamples = report.samples.flatMap(({ reconstruction }, sample): PanelImage[] => {
    const values = reconstruction?.file && readFloats(out, reconstruction.file, reconstruction.shape);
    if (!reconstruction?.file || !values) {
      return [];
    }
    const truth =
      reconstruction.truthFile === undefined
        ? undefined
        : readFloats(out, reconstruction.truthFile, reconstruction.shape);
    return [
      {
        sample,
        file: reconstruction.file,
        shape: [...reconstruction.shape],
        values,
        truth: truth ?? null,
        normalisation: reconstruction.normalisation ?? null,
      },
    ];
  });
  const ofLeaks = report.leaks.flatMap(({ details }) =>
    details.flatMap((detail): PanelImage[] => {
      const values = detail.type === 'picture' && detail.file && readFloats(out, detail.file, detail.shape);
      return detail.type === 'picture' && detail.file && values
        ? [
            {
              sample: null,
              file: detail.file,
              shape: [...detail.shape],
              values,
              truth: null,
              normalisation: detail.normalisation ?? null,
            },
          ]
        : [];
    }),
  );
  return [...ofSamples, ...ofLeaks];
}

/** Data of a `.npy` of ours in base64: its last bytes. The name comes from a report, so it must not lead elsewhere. */
function readFloats(out: string, name: string, shape: readonly number[]): string | undefined {
  const file = basename(name);
  if (!isFileName(file)) {
    return undefined;
  }
  let bytes: Buffer;
  try {
    bytes = readFileSync(join(out, file));
  } catch {
    // Not there, no file, no name of one: what cannot be read is not drawn.
    return undefined;
  }
  const length = 4 * shape.reduce((product, size) => product * size, 1);
  return bytes.length >= length ? bytes.subarray(bytes.length - length).toString('base64') : undefined;
}
