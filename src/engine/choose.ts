import { askProcess } from '../formats/throw-away-process.js';
import { type Engine, EngineError, type EngineId } from './engine.js';
import { type EngineOptions, makeEngine } from './make-engine.js';

/** Which engine computes: the first that proves itself in a throw-away process. */

export interface ProbeResult {
  readonly id: EngineId;
  readonly works: boolean;
  /** What it is, or why it does not work, with what would help. */
  readonly detail: string;
}

export interface ChosenEngine {
  readonly engine: Engine;
  /** One sentence per engine that was considered. */
  readonly reasons: readonly string[];
}

/** Fastest first. */
export const GPU_ENGINES: readonly EngineId[] = [
  'onnxruntime-cuda',
  'tfjs-node-gpu',
  ...(process.platform === 'win32' ? (['onnxruntime-directml'] as const) : []),
  'onnxruntime-webgpu',
];
export const CPU_ENGINES: readonly EngineId[] = ['onnxruntime-cpu', 'tfjs-node', 'tfjs-wasm', 'tfjs-cpu'];

/** Below this many multiplications a step, moving data to a GPU costs more than it gains. */
const GPU_WORTHWHILE = 3e8;
const PROBE_TIMEOUT_MS = 20_000;
/** Drivers may print a lot. */
const MOST_PRINTED_BYTES = 16 * 2 ** 20;

/**
 * @param wanted an engine, or `auto`
 * @param work multiplications of one step
 * @throws EngineError when the wanted engine, or every one, does not work; never falls back in silence
 */
export async function chooseEngine(
  wanted: EngineId | 'auto',
  work: number,
  options: EngineOptions = {},
): Promise<ChosenEngine> {
  if (wanted !== 'auto') {
    const result = await probeEngine(wanted, options);
    if (!result.works) {
      throw new EngineError(`The engine ${wanted} does not work here: ${result.detail}.`);
    }
    return { engine: await makeEngine(wanted, options), reasons: [`${wanted}: taken, as asked`] };
  }
  const reasons: string[] = [];
  const candidates = work >= GPU_WORTHWHILE ? [...GPU_ENGINES, ...CPU_ENGINES] : CPU_ENGINES;
  if (work < GPU_WORTHWHILE) {
    reasons.push(
      `GPU engines: not tried, ${(work / 1e6).toPrecision(3)} million multiplications a step gain nothing there`,
    );
  }
  for (const id of candidates) {
    const result = await probeEngine(id, options);
    if (result.works) {
      reasons.push(`${id}: taken, ${result.detail}`);
      return { engine: await makeEngine(id, options), reasons };
    }
    reasons.push(`${id}: ${result.detail}`);
  }
  throw new EngineError(`No engine works here. ${reasons.join('. ')}.`);
}

/** Never throws: a crash and a hang are results too. */
export async function probeEngine(id: EngineId, { tfjsFolder }: EngineOptions = {}): Promise<ProbeResult> {
  const ending = await askProcess({
    script: 'engine-probe.js',
    args: [id, tfjsFolder ?? ''],
    deadlineMs: PROBE_TIMEOUT_MS,
    maxAnswerBytes: MOST_PRINTED_BYTES,
  });
  const { works, detail } =
    ending.how === 'answered'
      ? (ending.answer as { works: boolean; detail: string })
      : { works: false, detail: `${ending.detail} ${ending.lastWords}` };
  return { id, works, detail: works ? detail : explain(id, detail) };
}

/** Libraries' messages in words, with what to install. */
function explain(id: EngineId, detail: string): string {
  const library = /(lib[\w.-]+\.so[.\d]*|\w+\.dll)[^\n]*(?:cannot open|no such file|not found)/i.exec(detail)?.[1];
  const own = library === undefined ? '' : `${library} not found; `;
  switch (id) {
    case 'onnxruntime-cuda':
      return /providers_(shared|cuda)|Failed to load shared library/.test(detail)
        ? `${own}this build of onnxruntime-node has no CUDA provider; reinstall it with ONNXRUNTIME_NODE_INSTALL=cuda12`
        : tidy(detail);
    case 'onnxruntime-webgpu':
      return /vulkan/i.test(detail) && library !== undefined
        ? `no Vulkan: ${library} not found; install the graphics driver's Vulkan loader (libvulkan1)`
        : /adapter/i.test(detail)
          ? 'no WebGPU adapter: no graphics driver is there, or none that it takes'
          : tidy(detail);
    case 'onnxruntime-directml':
    case 'onnxruntime-coreml':
      return /not (available|supported)|no available backend|not found/i.test(detail)
        ? 'this build of onnxruntime-node does not have it'
        : tidy(detail);
    case 'tfjs-node-gpu':
      return library === undefined
        ? detail.includes('not installed')
          ? 'not installed; "GradLeak: Install CUDA Engine" does it'
          : tidy(detail)
        : `${library} not found: CUDA 11.2 and cuDNN 8.1 are needed`;
    default:
      return tidy(detail);
  }
}

function tidy(detail: string): string {
  return (detail.trim().split('\n')[0] ?? '').slice(0, 200);
}
