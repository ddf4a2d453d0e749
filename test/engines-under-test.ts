import type { EngineId } from '../src/engine/engine.js';

/** `npm run engines` names one that is not everywhere; else those are tested that are. */
const named = process.env.GRADLEAK_ENGINE_UNDER_TEST as EngineId | undefined;

/** Where `npm run engines` built TensorFlow.js for Node. */
export const tfjsFolder = process.env.GRADLEAK_TFJS_FOLDER;

export const ENGINES_UNDER_TEST: readonly EngineId[] =
  named === undefined ? ['onnxruntime-cpu', 'tfjs-wasm', 'tfjs-cpu'] : [named];
