import { readFileSync } from 'node:fs';
import { EngineError } from './engine.js';
import { loadOnnxruntime } from './onnxruntime.js';

/**
 * LPIPS (Zhang et al., CVPR 2018) by an ONNX export that the user points to: two images, N x 3 x H x W in -1 to 1, and
 * one number out.
 *
 * @param shape channels, height, width
 * @throws EngineError when the file is no such model, or the images do not have three channels
 */
export async function lpips(
  path: string,
  found: Float32Array,
  truth: Float32Array,
  shape: readonly number[],
): Promise<number> {
  if (shape.length !== 3 || shape[0] !== 3) {
    throw new EngineError(`LPIPS compares images of three channels, not [${shape.join(', ')}].`);
  }
  const ort = loadOnnxruntime();
  try {
    const session = await ort.InferenceSession.create(readFileSync(path), { executionProviders: ['cpu'] });
    const [first = '', second = ''] = session.inputNames;
    const results = await session.run({
      [first]: new ort.Tensor('float32', found, [1, ...shape]),
      [second]: new ort.Tensor('float32', truth, [1, ...shape]),
    });
    await session.release();
    const data = results[session.outputNames[0] ?? '']?.data;
    if (!(data instanceof Float32Array) || data.length !== 1) {
      throw new EngineError('its output is not one number');
    }
    return data[0]!;
  } catch (error) {
    throw new EngineError(
      `${path}: no LPIPS model that runs (${error instanceof Error ? error.message : String(error)}).`,
    );
  }
}
