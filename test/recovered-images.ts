import { join } from 'node:path';
import { openTensorFile } from '../src/formats/open.js';

/** Images that an audit wrote, beside the true ones. */

export interface NearestImage {
  /** Index of the true image. */
  readonly which: number;
  /** dB, of values between 0 and 1. */
  readonly psnr: number;
}

/** Of each written image `NAME-0.npy`, `NAME-1.npy`, ..., the true one that is nearest. */
export function nearestImages(folder: string, name: string, truth: readonly (readonly number[])[]): NearestImage[] {
  return truth.map((_, at) => {
    const found = imageAt(join(folder, `${name}-${at}.npy`));
    const errors = truth.map((own) => own.reduce((sum, value, k) => sum + (value - found[k]!) ** 2, 0) / own.length);
    const least = Math.min(...errors);
    return { which: errors.indexOf(least), psnr: -10 * Math.log10(least) };
  });
}

function imageAt(path: string): Float64Array {
  const file = openTensorFile(path);
  try {
    return file.read(file.entries[0]!.name).data;
  } finally {
    file.close();
  }
}
