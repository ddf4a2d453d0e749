import type { Engine, EngineId } from './engine.js';
import { type OnnxruntimeId, onnxruntimeEngine } from './onnxruntime.js';
import { tfjsEngine } from './tfjs.js';

export interface EngineOptions {
  /** Threads of a CPU engine, 0 for the engine's own choice. */
  readonly threads?: number;
  /** Folder that holds `node_modules/@tensorflow/tfjs-node-gpu`. */
  readonly tfjsFolder?: string | undefined;
}

/** @throws EngineError when its library does not load */
export async function makeEngine(id: EngineId, options: EngineOptions = {}): Promise<Engine> {
  return isOnnxruntime(id) ? onnxruntimeEngine(id, options.threads) : tfjsEngine(id, options.tfjsFolder);
}

function isOnnxruntime(id: EngineId): id is OnnxruntimeId {
  return id.startsWith('onnxruntime-');
}
