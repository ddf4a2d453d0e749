import { describe, expect, it } from 'vitest';
import type { Defence } from '../../src/defences/defence.js';
import { gaussianNoise } from '../../src/defences/gaussian-noise.js';
import { sweepDefence } from '../../src/defences/sweep.js';
import { generator } from '../../src/recovery/paper-method.js';
import { hashed } from '../networks.js';

describe('Gaussian noise', () => {
  it('has the deviation that its level says, and the same draws from the same seed', () => {
    const zeros = new Map([['w', new Float64Array(20_000)]]);
    const defence = gaussianNoise(0.5);
    const draw = () => defence.apply(zeros, 3, generator(1)).get('w')!;
    const noise = draw();
    expect(Math.sqrt(noise.reduce((sum, own) => sum + own * own, 0) / noise.length)).toBeCloseTo(1.5, 1);
    expect([...draw().slice(0, 5)]).toEqual([...noise.slice(0, 5)]);
    expect([...zeros.get('w')!.slice(0, 3)]).toEqual([0, 0, 0]);
  });
});

describe('the sweep', () => {
  const shrink: Defence = {
    id: 'shrink',
    levels: [1, 2, 4, 8, 16],
    apply: (tensors, level) => new Map([...tensors].map(([name, data]) => [name, data.map((own) => own / level)])),
  };
  const tensors = new Map([['w', Float64Array.of(10)]]);
  const above = (limit: number) =>
    sweepDefence(shrink, tensors, generator(1), (defended) => defended.get('w')![0]! > limit);

  it('finds the lowest level that suffices, and what the one below left', () => {
    expect(above(3)).toEqual({
      stopsAt: 4,
      levels: shrink.levels,
      draws: 5,
      toldAtStop: 0,
      below: { level: 2, told: 5 },
    });
  });

  it('says when none does, and when the lowest one does', () => {
    expect(above(0.1)).toMatchObject({ stopsAt: null, below: { level: 16, told: 5 } });
    expect(above(100)).toMatchObject({ stopsAt: 1, toldAtStop: 0, below: null });
  });

  it('counts draws where the defence is random', () => {
    const data = new Map([['w', hashed(50, 3)]]);
    const sum = (own: Float64Array): number => own.reduce((total, value) => total + value, 0);
    const plain = sum(data.get('w')!);
    const found = sweepDefence(gaussianNoise(1), data, generator(2), (defended) => {
      return Math.abs(sum(defended.get('w')!) - plain) < 1;
    });
    expect(found.stopsAt).toBeGreaterThan(0.03);
    expect(found.stopsAt).toBeLessThanOrEqual(1);
    expect(found.toldAtStop).toBeLessThanOrEqual(3);
    expect(found.below!.told).toBeGreaterThan(3);
  });
});
