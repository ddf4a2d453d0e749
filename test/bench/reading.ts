import { closeSync, mkdirSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { blocksOf } from '../../src/formats/blocks.js';
import { openTensorFile } from '../../src/formats/open.js';
import { generator } from '../../src/recovery/paper-method.js';

/** A checkpoint in half precision with the gradient of all its tensors, and reading it in blocks of several sizes. */

const WIDTH = 4096;
const CLASSES = 100;
const LAYER_BYTES = 2 * WIDTH * WIDTH;
/** Elements that are widened at a time; as a whole where it is zero. */
export const BLOCKS = [2 ** 16, 2 ** 19, 2 ** 22, 0];

interface Part {
  readonly name: string;
  readonly dtype: 'F16' | 'F32';
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer);
}

/** Codes of float16 whose size is below 2, or far below. */
function halves(random: () => number, mask: number): Uint8Array {
  const codes = Uint16Array.from({ length: WIDTH * WIDTH }, () => Math.floor(random() * 2 ** 16) & mask);
  return new Uint8Array(codes.buffer);
}

function write(path: string, parts: readonly Part[]): void {
  let at = 0;
  const header = Object.fromEntries(
    parts.map(({ name, dtype, shape, bytes }) => {
      const start = at;
      at += bytes.length;
      return [name, { dtype, shape, data_offsets: [start, at] }];
    }),
  );
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = openSync(path, 'w');
  for (const bytes of [length, json, ...parts.map((part) => part.bytes)]) {
    for (let done = 0; done < bytes.length;) {
      done += writeSync(file, bytes, done);
    }
  }
  closeSync(file);
}

/** p - y of one sample of the fourth class. */
function residualsOf(weight: Float32Array, features: Float64Array): Float64Array {
  const exps = Float64Array.from({ length: CLASSES }, (_, row) =>
    Math.exp(features.reduce((sum, value, column) => sum + value * weight[row * WIDTH + column]!, 0)),
  );
  const total = exps.reduce((sum, value) => sum + value, 0);
  return exps.map((value, row) => value / total - (row === 3 ? 1 : 0));
}

/** Two files of about so many bytes each, in a folder of their own. */
export function makeDump(folder: string, bytes: number): { folder: string; checkpoint: string } {
  const own = join(folder, 'reading');
  mkdirSync(own);
  const random = generator(7);
  const features = Float64Array.from({ length: WIDTH }, () => random());
  const weight = Float32Array.from({ length: CLASSES * WIDTH }, () => (2 * random() - 1) / 64);
  const residuals = residualsOf(weight, features);
  const gradient = Float32Array.from(weight, (_, at) => residuals[Math.floor(at / WIDTH)]! * features[at % WIDTH]!);
  const layers = Math.max(1, Math.round(bytes / LAYER_BYTES));
  const partsOf = (mask: number, headWeight: Float32Array, headBias: Float32Array): Part[] => {
    const numbers = halves(random, mask);
    return [
      ...Array.from({ length: layers }, (_, layer): Part => {
        const name = `model.layers.${layer}.mlp.up_proj.weight`;
        return { name, dtype: 'F16', shape: [WIDTH, WIDTH], bytes: numbers };
      }),
      { name: 'score.weight', dtype: 'F32', shape: [CLASSES, WIDTH], bytes: bytesOf(headWeight) },
      { name: 'score.bias', dtype: 'F32', shape: [CLASSES], bytes: bytesOf(headBias) },
    ];
  };
  const checkpoint = join(own, 'checkpoint.safetensors');
  write(checkpoint, partsOf(0xbbff, weight, new Float32Array(CLASSES)));
  write(join(own, 'gradient.safetensors'), partsOf(0x9bff, gradient, Float32Array.from(residuals)));
  return { folder: own, checkpoint };
}

/** In a process of its own: everything in a file, as bytes alone or widened. */
export function readAll(path: string, how: string): void {
  if (how === 'bytes') {
    const file = openSync(path, 'r');
    const page = Buffer.alloc(4 * 2 ** 20);
    while (readSync(file, page) > 0) {
      // What the file system takes alone.
    }
    closeSync(file);
    return;
  }
  const block = Number(how);
  const file = openTensorFile(path);
  let sum = 0;
  for (const entry of file.entries) {
    if (block === 0) {
      sum += file.read(entry.name).data[0] ?? NaN;
    } else {
      for (const { values } of blocksOf(file, entry, 1, block)) {
        sum += values[0] ?? NaN;
      }
    }
  }
  file.close();
  if (!Number.isFinite(sum)) {
    throw new Error(`${path} holds numbers that were not written.`);
  }
}
