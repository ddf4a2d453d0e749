import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openTensorFile } from '../../../src/formats/open.js';

const FORMATS = join(import.meta.dirname, '..', '..', 'fixtures', 'formats');

interface Expected {
  shape: number[];
  dtype: string;
  values: number[];
}

const expected = JSON.parse(readFileSync(join(FORMATS, 'expected.json'), 'utf8')) as Record<
  string,
  Record<string, Expected>
>;

describe('readers give what PyTorch gives', () => {
  it.each(Object.entries(expected))('%s', (name, tensors) => {
    const file = openTensorFile(join(FORMATS, name));
    try {
      expect(new Set(file.entries.map((entry) => entry.name))).toEqual(new Set(Object.keys(tensors)));
      for (const [tensorName, wanted] of Object.entries(tensors)) {
        const { shape, dtype, data } = file.read(tensorName);
        expect({ tensorName, shape, dtype, values: [...data] }).toEqual({ tensorName, ...wanted });
      }
    } finally {
      file.close();
    }
  });

  it.each(Object.entries(expected))('%s, a range at a time', (name, tensors) => {
    const file = openTensorFile(join(FORMATS, name));
    try {
      for (const [tensorName, { values }] of Object.entries(tensors)) {
        const start = Math.floor(values.length / 3);
        const end = Math.ceil((2 * values.length) / 3);
        expect([...file.read(tensorName, { start, end }).data]).toEqual(values.slice(start, end));
      }
    } finally {
      file.close();
    }
  });
});

describe('what a file is', () => {
  it.each([
    ['state_dict.pt', 'torch-zip'],
    ['legacy.pt', 'torch-legacy'],
    ['torchscript.pt', 'torchscript'],
    ['numpy.pkl', 'pickle'],
    ['model.safetensors', 'safetensors'],
    ['sharded.safetensors.index.json', 'safetensors-sharded'],
    ['sharded.bin.index.json', 'torch-sharded'],
    ['compressed.npz', 'npz'],
    ['fortran.npy', 'npy'],
  ])('%s is %s', (name, format) => {
    const file = openTensorFile(join(FORMATS, name));
    expect(file.format).toBe(format);
    file.close();
  });

  it('tells parameters from buffers in a whole module, and names its classes as inert', () => {
    const file = openTensorFile(join(FORMATS, 'module.pt'));
    const roles = Object.fromEntries(file.entries.map(({ name, role }) => [name, role]));
    expect(roles['head.weight']).toBe('parameter');
    expect(roles['body.1.running_mean']).toBe('buffer');
    expect(file.foreignGlobals.map(({ name, risk }) => ({ name, risk }))).toContainEqual({
      name: 'TinyNet',
      risk: 'class',
    });
    expect(file.foreignGlobals.every(({ risk }) => risk === 'class')).toBe(true);
    file.close();
  });

  it('finds nothing foreign in a plain state dict', () => {
    for (const name of ['state_dict.pt', 'legacy.pt', 'dtypes.pt', 'lightning.ckpt', 'numpy.pkl', 'torchscript.pt']) {
      const file = openTensorFile(join(FORMATS, name));
      expect({ name, foreign: file.foreignGlobals }).toEqual({ name, foreign: [] });
      file.close();
    }
  });
});
