import type { ReconstructionReport } from '../protocol/report.js';

/** As part of a sentence. */
export const NAMES = {
  chain: 'the closed form',
  maps: 'feature maps, computed layer by layer',
  matching: 'gradient matching',
  patches: "least squares of the patch embedding's and the position embedding's gradients",
} as const;

/** The report of a reconstruction that was not tried. */
export function nothingRebuilt(reason: string): ReconstructionReport {
  return {
    file: null,
    preview: null,
    shape: [],
    method: 'none',
    by: '',
    verdict: 'failed',
    reason,
    gradientError: null,
    matchingLoss: null,
    expectedError: null,
    chain: [],
    matching: null,
    seconds: 0,
  };
}
