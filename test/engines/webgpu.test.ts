import type * as Ort from 'onnxruntime-node';
import { afterAll, describe, expect, it } from 'vitest';
import { toOnnx } from '../../src/engine/onnx-program.js';
import { loadOnnxruntime } from '../../src/engine/onnxruntime.js';
import { evaluate } from '../../src/graph/evaluate.js';
import type { TensorNode } from '../../src/graph/tensor-graph.js';
import { matchingStep, relativeError, secondOrderCases } from '../networks.js';
import { FEEDS, OPERATIONS, setUp } from '../operations.js';

/**
 * `npm run engines -- webgpu`: nothing of a graph leaves WebGPU. Where it has no kernel for an operation, onnxruntime takes the tensors
 * to the CPU and back in silence, at every step of a reconstruction.
 */

async function open(outputs: readonly TensorNode[], provider: 'webgpu' | 'cpu'): Promise<Ort.InferenceSession> {
  return loadOnnxruntime().InferenceSession.create(toOnnx(outputs), {
    executionProviders: [provider],
    logSeverityLevel: 4,
    ...(provider === 'webgpu' && { extra: { session: { disable_cpu_ep_fallback: '1' } } }),
  });
}

/** Of the output that differs most from float64, relative to its norm; outputs that are zero are left out. */
async function worstError(outputs: readonly TensorNode[], provider: 'webgpu' | 'cpu'): Promise<number> {
  const { Tensor } = loadOnnxruntime();
  const session = await open(outputs, provider);
  const feeds = Object.fromEntries(
    session.inputMetadata.flatMap((input) =>
      input.isTensor
        ? [
            [
              input.name,
              new Tensor('float32', Float32Array.from(FEEDS[input.name as 'a' | 'b']), input.shape.map(Number)),
            ],
          ]
        : [],
    ),
  );
  const found = await session.run(feeds);
  await session.release();
  const errors = evaluate(outputs, FEEDS).map((values, index) =>
    Math.hypot(...values) > 1e-9 ? relativeError(found[`out${index}`]!.data as Float32Array, values) : 0,
  );
  return Math.max(...errors);
}

describe('operations, with first and second derivatives', () => {
  const rows: string[] = [];
  afterAll(() => {
    console.log(['largest error against float64: WebGPU, CPU', ...rows].join('\n'));
  });

  it.each(Object.entries(OPERATIONS))('%s: on WebGPU alone', async (name, build) => {
    const { value, first, second } = setUp(build);
    const outputs = [value, ...first, ...second];
    const [own, cpu] = [await worstError(outputs, 'webgpu'), await worstError(outputs, 'cpu')];
    rows.push(`${own.toExponential(1)}  ${cpu.toExponential(1)}  ${name}`);
    expect(own).toBeLessThan(2e-4);
  });
});

describe('a step of matching', () => {
  it.each(Object.entries(secondOrderCases()))('of %s: on WebGPU alone', async (_, own) => {
    const session = await open(matchingStep(own).outputs, 'webgpu');
    await session.release();
  });
});
