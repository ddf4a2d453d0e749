import { spawnSync } from 'node:child_process';
import { availableParallelism, freemem } from 'node:os';
import { CPU_ENGINES } from '../engine/choose.js';
import type { EngineId } from '../engine/engine.js';

/** What one audit may take; those of large networks take more, and say `--jobs 1`. */
const BYTES_EACH = 2 * 2 ** 30;
/** What one reconstruction may take of a GPU's memory, in MiB. */
const GPU_MIB_EACH = 4096;
const NVIDIA_TIMEOUT_MS = 3000;

/**
 * Audits at a time on this machine: as many as were asked for, else by its cores and its free memory, and by the free
 * memory of its NVIDIA GPU where audits may compute there.
 *
 * @param engine that reconstructs inputs; undefined where none is reconstructed
 */
export function jobsAtATime(asked: number | undefined, engine: EngineId | 'auto' | undefined): number {
  const mayUseGpu = engine !== undefined && (engine === 'auto' || !CPU_ENGINES.includes(engine));
  return asked ?? Math.max(1, Math.min(byCores(), byMemory(), mayUseGpu ? jobsByGpu() : Infinity));
}

function byCores(): number {
  return Math.floor(availableParallelism() / 2);
}

function byMemory(): number {
  return Math.floor(freemem() / BYTES_EACH);
}

/** By the first GPU, on which engines compute; Infinity where the driver's tool tells of none. */
export function jobsByGpu(): number {
  const asked = spawnSync('nvidia-smi', ['--query-gpu=memory.free', '--format=csv,noheader,nounits'], {
    encoding: 'utf8',
    timeout: NVIDIA_TIMEOUT_MS,
  });
  const free = asked.status === 0 ? Number.parseInt(asked.stdout, 10) : NaN;
  return Number.isFinite(free) ? Math.max(1, Math.floor(free / GPU_MIB_EACH)) : Infinity;
}
