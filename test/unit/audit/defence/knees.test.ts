import { describe, expect, it } from 'vitest';
import { kneeOf, nextLevel } from '../../../../src/audit/defence/knees.js';
import type { DefencePoint, LeftOver } from '../../../../src/protocol/defence-report.js';

const levels = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((name) => ({ name }));
const leak = { id: 'x' };
const point = (level: number, standing: LeftOver['standing']): DefencePoint => ({
  level,
  left: [{ leak: 'x', left: 1, standing, detail: '', draws: 1, shown: null }],
});

describe('knees', () => {
  it('are the lowest level from which on nothing leaks', () => {
    const points = [point(0, 'leaks'), point(2, 'stopped'), point(3, 'leaks'), point(4, 'stopped')];
    expect(kneeOf(leak, { levels, scale: 'log', points })).toMatchObject({
      level: 4,
      below: 3,
      isSettled: true,
      by: 'stopped',
    });
  });

  it('are none where the last level leaks, or was not tried to its end', () => {
    const none = kneeOf(leak, { levels, scale: 'log', points: [point(2, 'stopped'), point(6, 'leaks')] });
    expect(none).toMatchObject({ level: null, below: 6, isSettled: true });
    expect(none.sentence).toContain('Not stopped by');
    expect(kneeOf(leak, { levels, scale: 'log', points: [point(6, 'untold')] })).toMatchObject({
      level: null,
      isSettled: false,
    });
  });

  it('say that what this audit no longer finds is not hidden for that', () => {
    const knee = kneeOf(leak, { levels, scale: 'names', points: [point(1, 'not-found')] });
    expect(knee).toMatchObject({ level: 1, by: 'not-found', isSettled: false });
    expect(knee.sentence).toContain('does not say that it is hidden');
  });

  it('are found by halving, in as many levels as that takes', () => {
    for (let truth = 0; truth <= levels.length; truth++) {
      const points: DefencePoint[] = [];
      const curve = { levels, scale: 'log' as const, isMonotone: true, points };
      for (let next = nextLevel([leak], curve, false); next; next = nextLevel([leak], curve, false)) {
        points.push(point(next.level, next.level < truth ? 'leaks' : 'stopped'));
        points.sort((one, other) => one.level - other.level);
      }
      expect(kneeOf(leak, curve).level).toBe(truth === levels.length ? null : truth);
      expect(points.length).toBe(3);
    }
  });

  it('take every level where one does not follow from the other, and in a thorough sweep', () => {
    for (const [isMonotone, isThorough] of [
      [false, false],
      [true, true],
    ] as const) {
      const points: DefencePoint[] = [];
      const curve = { levels, scale: 'linear' as const, isMonotone, points };
      for (let next = nextLevel([leak], curve, isThorough); next; next = nextLevel([leak], curve, isThorough)) {
        points.push(point(next.level, 'leaks'));
        points.sort((one, other) => one.level - other.level);
      }
      expect(points.map(({ level }) => level)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    }
  });
});
