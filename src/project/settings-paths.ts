import { resolve } from 'node:path';
import type { ReconstructionRequest } from '../protocol/audit-request.js';

/** The same reconstruction for who runs in another folder. @param folder that its paths begin at */
export function withWholePaths<T extends Pick<ReconstructionRequest, 'model' | 'lpips'>>(
  reconstruction: T,
  folder: string,
): T {
  const { model, lpips } = reconstruction;
  return {
    ...reconstruction,
    ...(model === undefined ? {} : { model: resolve(folder, model) }),
    ...(lpips === undefined ? {} : { lpips: resolve(folder, lpips) }),
  };
}
