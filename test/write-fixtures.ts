import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** Small writers for files that tests make on the spot. */

export interface FixtureTensor {
  shape: readonly number[];
  data: Float32Array | Float64Array;
}

/** A safetensors file. */
export function writeSafetensors(path: string, tensors: Record<string, FixtureTensor>): void {
  const header: Record<string, unknown> = {};
  let offset = 0;
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    const dtype = data instanceof Float64Array ? 'F64' : 'F32';
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(
    path,
    Buffer.concat([
      length,
      json,
      ...Object.values(tensors).map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)),
    ]),
  );
}

/** A head and the gradient of a batch under softmax cross-entropy, computed here by the textbook formula. */
export function syntheticBatch(options: {
  classes: number;
  features: number;
  batch: number;
  random: () => number;
}): Record<'weight' | 'gradient', FixtureTensor> {
  const { classes, features, batch, random } = options;
  const weight = Float32Array.from({ length: classes * features }, () => (2 * random() - 1) / Math.sqrt(features));
  const gradient = new Float64Array(classes * features);
  for (let sample = 0; sample < batch; sample++) {
    const x = Float64Array.from({ length: features }, () => random());
    const label = Math.floor(random() * classes);
    const exps = Float64Array.from({ length: classes }, (_, i) => {
      let z = 0;
      for (let j = 0; j < features; j++) {
        z += weight[i * features + j]! * x[j]!;
      }
      return Math.exp(z);
    });
    const total = exps.reduce((sum, value) => sum + value, 0);
    for (let i = 0; i < classes; i++) {
      const q = (exps[i]! / total - (i === label ? 1 : 0)) / batch;
      for (let j = 0; j < features; j++) {
        gradient[i * features + j]! += q * x[j]!;
      }
    }
  }
  const shape = [classes, features];
  return { weight: { shape, data: weight }, gradient: { shape, data: Float32Array.from(gradient) } };
}
