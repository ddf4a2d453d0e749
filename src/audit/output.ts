import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import type { AuditRequest } from '../protocol/audit-request.js';
import type { PanelImage } from '../protocol/panel-messages.js';
import { FEATURES_FILE, type Report } from '../protocol/report.js';
import { parseJson, readBounded } from '../formats/json-file.js';
import { encodeNpy, encodeNpyArray } from '../formats/write-npy.js';
import type { NamedArray, Reconstruction } from '../methods/method.js';
import { encodePicture, isImage } from '../formats/write-picture.js';

/** The report's folder. Files that GradLeak did not write are never replaced without `--force`. */

export const REPORT_FILE = 'report.json';
const MOST_REPORT_BYTES = 256 * 2 ** 20;

/** @throws UnusableInputError when the folder cannot be made or holds somebody else's files */
export function prepareFolder({ out, force }: Pick<AuditRequest, 'out' | 'force'>): void {
  if (out === undefined) {
    return;
  }
  try {
    mkdirSync(out, { recursive: true });
  } catch (error) {
    throw new UnusableInputError({
      code: 'unreadable-file',
      file: out,
      found: `a folder that cannot be made (${messageOf(error)})`,
      expected: 'a folder to write to',
      advice: 'Choose another with --out.',
    });
  }
  if (force === true || isOurs(out)) {
    return;
  }
  const taken = [REPORT_FILE, FEATURES_FILE, 'reconstruction-0.npy', 'reconstruction-0.png', 'truth-0.npy'].find(
    (name) => existsSync(join(out, name)),
  );
  if (taken !== undefined) {
    throw new UnusableInputError({
      code: 'would-overwrite',
      file: join(out, taken),
      found: 'a file that GradLeak did not write',
      expected: 'an empty folder or an earlier report',
      advice: 'Choose another folder with --out, or replace it with --force.',
    });
  }
}

/** Of any version: what may be replaced need not be understood. */
function isOurs(out: string): boolean {
  const value = readStored(out);
  const tool: unknown = typeof value === 'object' && value !== null && 'tool' in value ? value.tool : undefined;
  return typeof tool === 'object' && tool !== null && 'name' in tool && tool.name === 'gradleak';
}

/** What `report.json` of a folder holds, of an audit or a project; undefined when there is none that can be read. */
export function readStored(out: string): unknown {
  try {
    return parseJson(readBounded(join(out, REPORT_FILE), MOST_REPORT_BYTES));
  } catch {
    return undefined;
  }
}

/** Writes the report last: one on disk always finds what it refers to. */
export function writeResults(out: string, report: Report, { features, arrays, images }: Results): void {
  if (features.length > 0) {
    replaceFile(join(out, FEATURES_FILE), encodeNpy(features));
  }
  for (const image of images) {
    writeImages(out, image);
  }
  for (const { name, shape, data } of arrays) {
    replaceFile(join(out, arrayFile(name)), encodeNpyArray(data, shape));
  }
  replaceFile(join(out, REPORT_FILE), `${JSON.stringify(report, undefined, 1)}\n`);
}

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

function writeImages(out: string, { sample, reconstruction, truth }: ImageResults): void {
  const { report, input } = reconstruction;
  if (!input) {
    return;
  }
  report.file = `reconstruction-${sample}.npy`;
  replaceFile(join(out, report.file), encodeNpyArray(input, [1, ...report.shape]));
  if (isImage(report.shape)) {
    report.preview = `reconstruction-${sample}.png`;
    replaceFile(join(out, report.preview), encodePicture(input, report.shape, report.normalisation));
  }
  if (truth?.length === input.length) {
    report.truthFile = `truth-${sample}.npy`;
    replaceFile(join(out, report.truthFile), encodeNpyArray(truth, [1, ...report.shape]));
  }
}

/** Writes a file whole or not at all: a crash in the middle must not leave half of it under the real name. */
export function replaceFile(path: string, content: string | Uint8Array): void {
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, content);
  renameSync(temporary, path);
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
  const path = join(out, basename(name));
  if (!existsSync(path)) {
    return undefined;
  }
  const bytes = readFileSync(path);
  const length = 4 * shape.reduce((product, size) => product * size, 1);
  return bytes.length >= length ? bytes.subarray(bytes.length - length).toString('base64') : undefined;
}
