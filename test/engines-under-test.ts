import type { EngineId } from '../src/engine/engine.js';

/** What `npm run engines` built; its tests run on that too. */
export const tfjsFolder = process.env.GRADLEAK_TFJS_FOLDER;

export const ENGINES_UNDER_TEST: readonly EngineId[] = [
  'onnxruntime-cpu',
  'tfjs-wasm',
  'tfjs-cpu',
  ...(tfjsFolder === undefined ? [] : (['tfjs-node'] as const)),
];
