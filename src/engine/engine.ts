import type { TensorData, TensorNode } from '../graph/tensor-graph.js';

/** What runs a tensor graph. */

export interface Engine {
  readonly id: EngineId;
  /** For people: `onnxruntime 1.30 on CPU, 2 threads`. */
  readonly description: string;
  /**
   * Prepares a graph for many runs.
   *
   * @throws EngineError when the graph cannot be run here
   */
  compile(outputs: readonly TensorNode[]): Promise<Program>;
  dispose(): Promise<void>;
}

export interface Program {
  /**
   * @param feeds data of every variable, by name; float64 is rounded
   * @returns float32 data of each output
   */
  run(feeds: Readonly<Record<string, TensorData>>): Promise<Float32Array[]>;
  dispose(): Promise<void>;
}

export type EngineId =
  | 'onnxruntime-cpu'
  | 'onnxruntime-webgpu'
  | 'onnxruntime-cuda'
  | 'onnxruntime-directml'
  | 'onnxruntime-coreml'
  | 'tfjs-node-gpu'
  | 'tfjs-node'
  | 'tfjs-wasm'
  | 'tfjs-cpu';

/** An engine that cannot be had or does not compute; the message says what is missing. */
export class EngineError extends Error {
  override readonly name = 'EngineError';
}
