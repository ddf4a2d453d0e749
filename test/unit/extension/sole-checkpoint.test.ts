import { describe, expect, it } from 'vitest';
import { soleCheckpoint } from '../../../src/extension/sole-checkpoint.js';
import type { RankedCheckpoint } from '../../../src/protocol/runner-messages.js';

const GRADIENT = '/run/gradient.pt';

function candidate(path: string, own: Partial<RankedCheckpoint> = {}): RankedCheckpoint {
  return { path, kind: 'checkpoint', fit: 1, problem: null, ...own };
}

describe('the checkpoint that nobody need be asked for', () => {
  it('is the one file beside the gradient that fits in full', () => {
    const all = [
      candidate('/run/checkpoint.pt'),
      candidate('/run/half.pt', { fit: 0.9 }),
      candidate('/other/model.pt'),
    ];
    expect(soleCheckpoint(all, GRADIENT, undefined)).toBe('/run/checkpoint.pt');
    // By names alone it is unknown, as most large files are.
    expect(soleCheckpoint([candidate('/run/w.npz', { kind: 'unknown' })], GRADIENT, undefined)).toBe('/run/w.npz');
  });

  it.each([
    ['none is beside it', [candidate('/other/model.pt')]],
    ['none fits in full', [candidate('/run/checkpoint.pt', { fit: 0.99 })]],
    ['several fit', [candidate('/run/before.pt'), candidate('/run/after.pt')]],
    ['it cannot be read', [candidate('/run/checkpoint.pt', { problem: 'damaged' })]],
    ['it seems to be another gradient', [candidate('/run/second.pt', { kind: 'gradient' })]],
    ['it seems to be a difference', [candidate('/run/second.pt', { kind: 'delta' })]],
    ['it is called a gradient', [candidate('/run/gradient-2.pt', { kind: 'unknown' })]],
    ['there is nothing', []],
  ])('is none where %s', (_, all) => {
    expect(soleCheckpoint(all, GRADIENT, undefined)).toBeUndefined();
  });

  it('is not taken against what the user chose before', () => {
    const all = [candidate('/run/checkpoint.pt'), candidate('/other/model.pt')];
    expect(soleCheckpoint(all, GRADIENT, '/other/model.pt')).toBeUndefined();
    expect(soleCheckpoint(all, GRADIENT, '/run/checkpoint.pt')).toBe('/run/checkpoint.pt');
    const fitting = [...all, candidate('/other/fits.pt')];
    expect(soleCheckpoint(fitting, GRADIENT, '/other/fits.pt')).toBeUndefined();
    const failed = [...all, candidate('/other/misfit.pt', { fit: 0 })];
    expect(soleCheckpoint(failed, GRADIENT, '/other/misfit.pt')).toBe('/run/checkpoint.pt');
  });
});
