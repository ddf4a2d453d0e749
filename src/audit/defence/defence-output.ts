import { encodeNpyArray } from '../../formats/write-npy.js';
import { encodePicture, isImage } from '../../formats/write-picture.js';
import { DEFENCE_FILE, type DefenceReport, type LeftPicture } from '../../protocol/defence-report.js';
import { openOutput, writeOutput } from '../output-folder.js';
import type { Shown } from './follower.js';

/** A sweep's report and its pictures, in the folder of the audit; nothing is written where that has none. */
export interface DefenceOutput {
  /** Writes a picture at once, so that a report on disk always finds what it refers to. Null for what cannot be drawn. */
  show(name: string, title: string, shown: Shown): LeftPicture | null;
  write(report: DefenceReport): void;
  close(): void;
}

interface Folder {
  readonly out: string | undefined;
  readonly force: boolean | undefined;
}

/** @throws UnusableInputError when the folder holds somebody else's files, or another audit writes to it */
export function openDefenceOutput({ out, force }: Folder): DefenceOutput {
  const unlock = out === undefined ? undefined : openOutput(out, [DEFENCE_FILE], force === true);
  const write = (name: string, content: string | Uint8Array): void => {
    if (out !== undefined) {
      writeOutput(out, name, content, force === true);
    }
  };
  return {
    show(name, title, shown) {
      if (shown.type === 'texts') {
        return shown;
      }
      const { shape, values, normalisation } = shown;
      if (!isImage(shape)) {
        return null;
      }
      const file = `defence-${name}.npy`;
      write(file, encodeNpyArray(values, [1, ...shape]));
      write(previewOf(file), encodePicture(values, shape, normalisation));
      return {
        type: 'picture',
        title,
        shape: [...shape],
        file: out === undefined ? null : file,
        ...(normalisation ? { normalisation } : {}),
      };
    },
    write: (report) => {
      write(DEFENCE_FILE, `${JSON.stringify(report, undefined, 1)}\n`);
    },
    close: () => unlock?.(),
  };
}

/** The picture to look at beside a file of numbers. */
export function previewOf(file: string): string {
  return file.replace(/\.npy$/, '.png');
}
