import type { ReconstructionReport } from '../protocol/report.js';

/** The report of a reconstruction that was not tried. */
export function nothingRebuilt(reason: string): ReconstructionReport {
  return {
    file: null,
    preview: null,
    shape: [],
    method: 'none',
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
