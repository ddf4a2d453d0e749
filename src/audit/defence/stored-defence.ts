import { basename, join } from 'node:path';
import schema from '../../../media/defence.schema.json';
import { isFileName } from '../../formats/byte-source.js';
import { parseJson, readBounded, validatorOf } from '../../formats/json-file.js';
import { DEFENCE_FILE, type DefenceReport, type LeftPicture } from '../../protocol/defence-report.js';
import type { DefencePicture, StoredDefence } from '../../protocol/panel-messages.js';
import { previewOf } from './defence-output.js';

/** A sweep that was written to a folder, with its pictures. */

const MOST_REPORT_BYTES = 2 ** 25;
const MOST_PICTURE_BYTES = 2 ** 21;
/** Of all together, as they go to a panel in one message. */
const MOST_BYTES = 2 ** 24;
const REPORT = validatorOf<DefenceReport>(schema);

/** Undefined where there is none, or none of this version. */
export function readDefence(folder: string): StoredDefence | undefined {
  try {
    const report = parseJson(readBounded(join(folder, DEFENCE_FILE), MOST_REPORT_BYTES));
    return REPORT.is(report) ? { report, pictures: picturesOf(folder, report) } : undefined;
  } catch {
    return undefined;
  }
}

/** Those that are there. A name comes from a report, so it must not lead elsewhere. */
function picturesOf(folder: string, { leaks, curves }: DefenceReport): DefencePicture[] {
  const shown = [
    ...leaks.map((own) => own.shown),
    ...curves.flatMap(({ points }) => points.flatMap(({ left }) => left.map((own) => own.shown))),
  ];
  const files = new Set(shown.flatMap(fileOf));
  let left = MOST_BYTES;
  return [...files].flatMap((file) => {
    const name = basename(previewOf(file));
    if (!isFileName(name)) {
      return [];
    }
    try {
      const png = readBounded(join(folder, name), Math.min(left, MOST_PICTURE_BYTES));
      left -= png.length;
      return [{ file, png: Buffer.from(png).toString('base64') }];
    } catch {
      return [];
    }
  });
}

function fileOf(shown: LeftPicture | null): string[] {
  return shown?.type === 'picture' && shown.file !== null ? [shown.file] : [];
}
