import { availableParallelism, freemem } from 'node:os';

/** What one audit may take; those of large networks take more, and say `--jobs 1`. */
const BYTES_EACH = 2 * 2 ** 30;

/** Audits at a time on this machine: as many as were asked for, else by its cores and its free memory. */
export function jobsAtATime(asked: number | undefined): number {
  return asked ?? Math.max(1, Math.min(Math.floor(availableParallelism() / 2), Math.floor(freemem() / BYTES_EACH)));
}
