import { describe, expect, it } from 'vitest';
import type { Defence, UpdateFigures } from '../../../src/defences/defence.js';
import { BFLOAT16, FLOAT16, FLOAT8_E4M3, toGrid } from '../../../src/defences/float-grid.js';
import { allDefences } from '../../../src/defences/registry.js';
import { sweepLevels } from '../../../src/defences/sweep.js';
import { hashed } from '../../networks.js';

const data = hashed(10_000, 3);
const norm = (values: Float64Array): number => Math.sqrt(values.reduce((sum, own) => sum + own * own, 0));
const zeros = (values: Float64Array): number => values.filter((own) => own === 0).length;
const figures: UpdateFigures = {
  count: data.length,
  norm: norm(data),
  parts: { head: ['fc.weight', 'fc.bias'], embeddings: [], first: ['conv.weight'] },
};
const defence = (id: string): Defence => allDefences().find((own) => own.id === id)!;
const levelsOf = (id: string) => defence(id).levels(figures);
const applied = (own: Defence, at: number, draw = 0): Float64Array =>
  own.apply({ name: 'w', data, draw }, own.levels(figures)[at]!, figures);

describe('defences', () => {
  it('leave the numbers that they are given alone, and are the same each time', () => {
    const before = data.slice();
    for (const own of allDefences()) {
      const last = own.levels(figures).length - 1;
      expect([...applied(own, last)]).toEqual([...applied(own, last)]);
      expect([...data]).toEqual([...before]);
    }
  });

  it('draw the noise that the level says, once for all levels', () => {
    const own = defence('gaussian-noise');
    const levels = levelsOf('gaussian-noise');
    const noise = (at: number, draw = 0): Float64Array => applied(own, at, draw).map((value, k) => value - data[k]!);
    const [low, high] = [noise(2), noise(6)];
    expect(norm(low) / figures.norm).toBeCloseTo(levels[2]!.value, 3);
    const ratio = levels[6]!.value / levels[2]!.value;
    expect(Math.max(...high.map((value, at) => Math.abs(value - ratio * low[at]!)))).toBeLessThan(
      1e-12 * ratio + 1e-12,
    );
    expect(noise(2, 1)[0]).not.toBe(low[0]);
    // At the update's own norm as clip norm, a multiplier of 1 is noise of norm sqrt(n) times as long.
    expect(levels.find(({ value }) => value === 100)!.also).toContain('noise multiplier 1.0 ');
  });

  it('clip by one factor', () => {
    const own = defence('clipping');
    expect(norm(applied(own, 1)) / figures.norm).toBeCloseTo(levelsOf('clipping')[1]!.value, 12);
  });

  it.each(['top-k-pruning', 'random-pruning'])('%s keeps the share of its level, nested from level to level', (id) => {
    const own = defence(id);
    let before = data;
    for (const [at, { value }] of levelsOf(id).entries()) {
      const now = applied(own, at);
      const kept = now.length - zeros(now);
      expect(Math.abs(kept - value * now.length)).toBeLessThan(id === 'top-k-pruning' ? 1 : 200);
      expect(now.every((number, k) => number === 0 || number === before[k])).toBe(true);
      before = now;
    }
  });

  it('keeps the largest, of equal ones no more than its share', () => {
    const own = defence('top-k-pruning');
    const half = own.levels(figures)[0]!;
    const pruned = own.apply({ name: 'w', data: Float64Array.of(1, -3, 3, 2, 3, 0), draw: 0 }, half, figures);
    expect([...pruned]).toEqual([0, -3, 3, 0, 3, 0]);
    const equal = own.apply({ name: 'w', data: new Float64Array(10).fill(2), draw: 0 }, half, figures);
    expect(zeros(equal)).toBe(5);
  });

  it('round to as many integers as the bits have', () => {
    const own = defence('integer-quantisation');
    for (const [at, { value: bits }] of levelsOf('integer-quantisation').entries()) {
      const now = applied(own, at);
      const step = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / (2 ** (bits - 1) - 1);
      expect(new Set(now.map((value) => Math.round(value / step))).size).toBeLessThanOrEqual(2 ** bits - 1);
      expect(Math.max(...now.map((value, k) => Math.abs(value - data[k]!)))).toBeLessThanOrEqual(step / 2 + 1e-12);
    }
  });

  it('send signs with one size', () => {
    const now = defence('sign').apply(
      { name: 'w', data: Float64Array.of(1, -3, 0, 4), draw: 0 },
      levelsOf('sign')[0]!,
      figures,
    );
    expect([...now]).toEqual([2, -2, 0, 2]);
  });

  it('withhold what there is, by name', () => {
    const own = defence('withholding');
    const levels = levelsOf('withholding');
    expect(levels.map(({ name }) => name)).toEqual(['without the head', 'without the first layer']);
    expect(own.withheld!(levels[0]!, figures)).toEqual(['fc.weight', 'fc.bias']);
  });
});

describe('floating-point grids', () => {
  it('round as the types do', () => {
    // Values of torch.tensor(x).to(dtype).
    expect(toGrid(0.1, FLOAT16)).toBe(0.0999755859375);
    expect(toGrid(0.1, BFLOAT16)).toBe(0.10009765625);
    expect(toGrid(-1e-8, FLOAT16)).toBe(-0);
    expect(toGrid(6e-8, FLOAT16)).toBe(2 ** -24);
    expect(toGrid(0.1, FLOAT8_E4M3)).toBe(0.1015625);
    expect(toGrid(1 + 2 ** -11, FLOAT16)).toBe(1);
    expect(toGrid(1 + 3 * 2 ** -11, FLOAT16)).toBe(1 + 2 ** -9);
    expect(toGrid(1e6, FLOAT16)).toBe(65504);
  });
});

describe('the sweep over one number', () => {
  const levels = [1, 2, 4, 8, 16];
  const above = (limit: number) => sweepLevels(levels, (level) => 10 / level > limit);

  it('finds the lowest level that suffices, and what the one below left', () => {
    expect(above(3)).toEqual({ stopsAt: 4, levels, draws: 5, toldAtStop: 0, below: { level: 2, told: 5 } });
  });

  it('says when none does, and when the lowest one does', () => {
    expect(above(0.1)).toMatchObject({ stopsAt: null, below: { level: 16, told: 5 } });
    expect(above(100)).toMatchObject({ stopsAt: 1, toldAtStop: 0, below: null });
  });

  it('counts the draws in which it is told', () => {
    expect(sweepLevels([1], (_, draw) => draw < 2)).toMatchObject({ stopsAt: 1, toldAtStop: 2 });
  });
});
