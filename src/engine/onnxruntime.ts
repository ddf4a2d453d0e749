import { createRequire } from 'node:module';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type * as Ort from 'onnxruntime-node';
import type { TensorData, TensorNode } from '../graph/tensor-graph.js';
import { type Engine, EngineError, type EngineId, type Program } from './engine.js';
import { toOnnx } from './onnx-program.js';

/** onnxruntime-node: CPU everywhere, WebGPU out of the box, CUDA, DirectML and CoreML where its build has them. */

export type OnnxruntimeId = Extract<EngineId, `onnxruntime-${string}`>;

const PROVIDERS: Record<OnnxruntimeId, string> = {
  'onnxruntime-cpu': 'cpu',
  'onnxruntime-webgpu': 'webgpu',
  'onnxruntime-cuda': 'cuda',
  'onnxruntime-directml': 'dml',
  'onnxruntime-coreml': 'coreml',
};

/**
 * @param threads of the CPU provider; 0 leaves the choice to onnxruntime
 * @throws EngineError when the package or its native library does not load
 */
export function onnxruntimeEngine(id: OnnxruntimeId, threads = 0): Engine {
  const ort = loadOnnxruntime();
  return {
    id,
    description: `onnxruntime ${ort.env.versions.node ?? ''} on ${PROVIDERS[id].toUpperCase()}`,
    async compile(outputs) {
      return compile(ort, id, threads, outputs);
    },
    dispose: () => Promise.resolve(),
  };
}

async function compile(
  ort: typeof Ort,
  id: OnnxruntimeId,
  threads: number,
  outputs: readonly TensorNode[],
): Promise<Program> {
  const session = await ort.InferenceSession.create(toOnnx(outputs), {
    executionProviders: [PROVIDERS[id]],
    graphOptimizationLevel: 'all',
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
  }).catch((error: unknown) => {
    throw new EngineError(`onnxruntime refuses the graph on ${PROVIDERS[id]}: ${String(error)}`);
  });
  const shapes = new Map(
    session.inputMetadata.flatMap((input) => (input.isTensor ? [[input.name, input.shape.map(Number)] as const] : [])),
  );
  return {
    async run(feeds) {
      const tensors = Object.fromEntries(
        [...shapes].map(([name, shape]) => [name, new ort.Tensor('float32', toFloat32(feeds[name], name), shape)]),
      );
      const results = await session.run(tensors);
      return outputs.map((_, index) => {
        const data = results[`out${index}`]?.data;
        if (!(data instanceof Float32Array)) {
          throw new EngineError('onnxruntime gave something else than float32.');
        }
        return data;
      });
    },
    dispose: () => session.release(),
  };
}

function toFloat32(data: TensorData | undefined, name: string): Float32Array {
  if (!data) {
    throw new RangeError(`The variable "${name}" was not fed.`);
  }
  return data instanceof Float32Array ? data : Float32Array.from(data);
}

let loaded: typeof Ort | undefined;

/** The copy beside the bundle, where the extension is packaged for one platform; else the one in node_modules. */
export function loadOnnxruntime(): typeof Ort {
  if (!loaded) {
    const packaged = join(__dirname, 'native', 'node_modules', 'onnxruntime-node');
    const load = createRequire(existsSync(packaged) ? join(packaged, 'package.json') : __filename);
    try {
      loaded = load(existsSync(packaged) ? packaged : 'onnxruntime-node') as typeof Ort;
    } catch (error) {
      throw new EngineError(
        `onnxruntime-node does not load: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }
  return loaded;
}
