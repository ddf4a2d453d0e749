import { describe, expect, it } from 'vitest';
import type { DefendedRun } from '../../../../src/audit/defence/defended-run.js';
import type { Follower } from '../../../../src/audit/defence/follower.js';
import { leftOver } from '../../../../src/audit/defence/left-over.js';
import { targetOf } from '../../../../src/audit/defence/target.js';
import type { Undefended } from '../../../../src/audit/defence/undefended.js';
import type { DefenceCurve, DefenceReport, FollowedLeak, LeftOver } from '../../../../src/protocol/defence-report.js';

const label = { id: 'label', title: 'Told', unit: '', moreIsWorse: true, from: 0, to: 1 } as const;
const psnr = { id: 'psnr', title: 'PSNR', unit: 'dB', moreIsWorse: true, from: 10, to: 60 } as const;
const leakOf = (id: string, measure: FollowedLeak['measure'], limit: number): FollowedLeak => ({
  id,
  title: id,
  method: 'head-single',
  sample: 0,
  measure,
  undefended: 1,
  limit,
  chance: 0.1,
  shown: null,
});
const runs = new Array<object>(8).fill({}) as readonly DefendedRun[];
const task = (isLate: boolean) => ({ leak: leakOf('label-0', label, 0.3), isLate: () => isLate, show: () => null });
const follower = (guesses: Follower['guesses']): Follower => ({
  leak: { ...leakOf('label-0', label, 0.3), limit: () => 0.3 },
  shown: null,
  methods: [],
  guesses,
});

describe('what is left at a level', () => {
  it('is not told from fewer draws than its limit is of', async () => {
    let draw = 0;
    const guesses = (): Promise<{ by: string; value: number }[]> =>
      Promise.resolve([{ by: 'rule', value: draw++ === 0 ? 0 : 1 }]);
    expect(await leftOver(follower(guesses), runs, task(true))).toMatchObject({ draws: 1, standing: 'untold' });
    draw = 0;
    expect(await leftOver(follower(guesses), runs, task(false))).toMatchObject({ draws: 8, standing: 'leaks' });
  });

  it('is not known where the guess cannot be computed', async () => {
    const broken = (): Promise<never> => Promise.reject(new RangeError('all zero'));
    expect(await leftOver(follower(broken), runs, task(false))).toMatchObject({
      left: null,
      standing: 'untold',
      detail: 'It could not be tried: all zero',
    });
  });
});

describe('a target', () => {
  const leaks = [leakOf('label-0', label, 0.3), leakOf('input-0', psnr, 15)];
  const own = (leak: string, standing: LeftOver['standing']): LeftOver => ({
    leak,
    left: 0,
    standing,
    detail: '',
    draws: 1,
    shown: null,
  });
  const curve = (points: DefenceCurve['points']): DefenceCurve =>
    ({
      id: 'noise',
      scale: 'log',
      why: null,
      levels: [1, 2, 3].map((value) => ({ value, name: String(value), also: null, settings: [], privacy: [] })),
      points,
      knees: [],
    }) as unknown as DefenceCurve;
  const judged = (
    points: DefenceCurve['points'],
    { left = [] as DefenceReport['notFollowed'], isMatchingLeftOut = false, takes = 'numbers' } = {},
  ) =>
    targetOf(
      { label: 0.3, psnr: 15 },
      leaks,
      [curve(points)],
      left,
      { takes } as unknown as Undefended,
      isMatchingLeftOut,
    );
  const both = (first: LeftOver['standing'], second: LeftOver['standing']): LeftOver[] => [
    own('label-0', first),
    own('input-0', second),
  ];

  it('is met where every guess failed, and not where one leaks at the strongest level', () => {
    expect(judged([{ level: 2, left: both('stopped', 'stopped') }])).toMatchObject({
      outcome: 'met',
      met: [{ level: 2 }],
    });
    expect(judged([{ level: 2, left: both('stopped', 'leaks') }])).toMatchObject({ outcome: 'not-met' });
  });

  it('is open where the strongest level was tried for some of the leaks only', () => {
    const points = [
      { level: 0, left: both('leaks', 'leaks') },
      { level: 2, left: [own('label-0', 'stopped')] },
    ];
    expect(judged(points)).toMatchObject({ outcome: 'unknown', met: [{ level: null }] });
  });

  it('is open where a part of it was not followed, not tried or no longer found', () => {
    const stopped = [{ level: 2, left: both('stopped', 'stopped') }];
    const left = [{ title: '3 inputs', why: 'not exact', measure: 'psnr' as const }];
    expect(judged(stopped, { left })).toMatchObject({ outcome: 'unknown' });
    expect(judged(stopped, { isMatchingLeftOut: true })).toMatchObject({ outcome: 'unknown' });
    expect(judged([{ level: 2, left: both('stopped', 'not-found') }])).toMatchObject({ outcome: 'unknown' });
    expect(judged([{ level: 2, left: both('stopped', 'untold') }])).toMatchObject({ outcome: 'unknown' });
  });
});
