import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { isCapture, pathsInFolder } from '../../../src/facts/inputs.js';
import { UnusableInputError } from '../../../src/protocol/errors.js';

const ROOT = mkdtempSync(join(tmpdir(), 'gradleak-inputs-'));
afterAll(() => {
  rmSync(ROOT, { recursive: true });
});

let made = 0;
function folderOf(...names: string[]): string {
  const folder = join(ROOT, String(made++));
  mkdirSync(folder);
  names.forEach((name) => {
    writeFileSync(join(folder, name), '');
  });
  return folder;
}

function refusalOf(folder: string): UnusableInputError {
  try {
    pathsInFolder(folder);
  } catch (error) {
    if (error instanceof UnusableInputError) {
      return error;
    }
  }
  throw new Error('not refused');
}

describe('the files of a folder', () => {
  it.each([
    [['checkpoint.pt', 'gradient.pt'], 'checkpoint.pt', 'gradient.pt'],
    [['model.safetensors', 'gradient.safetensors', 'config.json'], 'model.safetensors', 'gradient.safetensors'],
    [
      [
        'model.safetensors.index.json',
        'model-00001-of-00002.safetensors',
        'model-00002-of-00002.safetensors',
        'gradients.safetensors',
      ],
      'model.safetensors.index.json',
      'gradients.safetensors',
    ],
    [['pytorch_model.bin', 'gradient.pt'], 'pytorch_model.bin', 'gradient.pt'],
    [['before.pt', 'after.pt', 'notes.txt'], 'before.pt', 'after.pt'],
    [['checkpoint.npz', 'after.npz'], 'checkpoint.npz', 'after.npz'],
    // A gradient needs no weights after.
    [['checkpoint.pt', 'before.pt', 'gradient.pt', 'after.pt'], 'checkpoint.pt', 'gradient.pt'],
    // What is called a checkpoint is meant as one.
    [['checkpoint.pt', 'model.safetensors', 'gradient.pt'], 'checkpoint.pt', 'gradient.pt'],
  ])('%j: the checkpoint is %s', (names, checkpoint, gradients) => {
    const folder = folderOf(...names);
    expect(isCapture(folder)).toBe(true);
    expect(pathsInFolder(folder)).toEqual({ checkpoint: join(folder, checkpoint), gradients: join(folder, gradients) });
  });

  it('takes weights after alone for no capture', () => {
    expect(isCapture(folderOf('after.pt', 'round-1'))).toBe(false);
  });

  it('says between which models it cannot choose', () => {
    const { code, message } = refusalOf(folderOf('model.safetensors', 'pytorch_model.bin', 'gradient.pt'));
    expect(code).toBe('ambiguous-match');
    expect(message).toContain('model.safetensors, pytorch_model.bin');
  });

  it.each([
    'checkpoint.pt',
    'model.safetensors',
    'model.safetensors.index.json',
    'pytorch_model.bin',
    'pytorch_model.bin.index.json',
  ])('names %s among what is looked for', (name) => {
    const { code, message } = refusalOf(folderOf('gradient.pt', 'weights.pt'));
    expect(code).toBe('missing-file');
    expect(message).toContain(basename(name));
  });

  it('wants a gradient', () => {
    expect(refusalOf(folderOf('model.safetensors')).message).toContain('gradient.pt or ');
  });
});
