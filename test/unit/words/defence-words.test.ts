import { describe, expect, it } from 'vitest';
import type { DefenceCurve, DefenceReport, FollowedLeak, Knee } from '../../../src/protocol/defence-report.js';
import { amountLeft, defenceAsCsv, kneeInWords, leftInWords, shareLeft } from '../../../src/words/defence-words.js';

const psnr = { id: 'psnr', title: 'PSNR', unit: 'dB', moreIsWorse: true, from: 10, to: 60 } as const;
const label = { id: 'label', title: 'Told, share of guesses', unit: '', moreIsWorse: true, from: 0, to: 1 } as const;
const feature = { id: 'feature', title: 'Relative error', unit: '', moreIsWorse: false, from: 1, to: 0 } as const;
const leak = (own: Partial<FollowedLeak>): FollowedLeak => ({
  id: 'input-0',
  title: 'The input',
  method: 'input',
  sample: 0,
  measure: psnr,
  undefended: 100,
  limit: 12,
  chance: 11,
  shown: null,
  ...own,
});
const knee = (own: Partial<Knee>): Knee => ({
  leak: 'input-0',
  level: null,
  below: null,
  by: null,
  isSettled: true,
  sentence: '',
  ...own,
});
const curve = {
  id: 'gaussian-noise',
  title: 'Gaussian noise',
  unit: '',
  levels: ['0.1', '1'].map((name) => ({ value: Number(name), name, also: null, settings: [], privacy: [] })),
  points: [
    {
      level: 1,
      left: [{ leak: 'input-0', left: 11.26, standing: 'stopped', detail: 'a "guess", here', draws: 1, shown: null }],
    },
  ],
} as unknown as DefenceCurve;

describe('words of a sweep of defences', () => {
  it('give each measure its own form', () => {
    expect(amountLeft(11.26, psnr)).toBe('11.3 dB');
    expect(amountLeft(0.125, label)).toBe('13 %');
    expect(amountLeft(0.08514, feature)).toBe('0.0851');
    expect(leftInWords(curve.points[0]!.left[0], leak({}))).toBe('11.3 dB: stopped');
    expect(leftInWords(undefined, leak({}))).toBe('not tried');
    expect(leftInWords({ ...curve.points[0]!.left[0]!, left: null, standing: 'not-found' }, leak({}))).toBe(
      'no longer found',
    );
  });

  it('put every measure between nothing and everything', () => {
    expect(shareLeft(35, psnr)).toBe(0.5);
    expect(shareLeft(100, psnr)).toBe(1);
    expect(shareLeft(0.25, feature)).toBe(0.75);
    expect(shareLeft(2, feature)).toBe(0);
  });

  it('never call stopped what was not tried, or what is no longer found', () => {
    expect(kneeInWords({ ...curve, points: [] }, knee({ level: 1, by: 'stopped' }))).toBe('not tried');
    expect(kneeInWords(curve, knee({ level: 1, by: 'stopped' }))).toBe('stopped: 1');
    expect(kneeInWords(curve, knee({ level: 1, by: 'stopped', isSettled: false }))).toBe('stopped: 1 or less');
    expect(kneeInWords(curve, knee({ level: 1, by: 'not-found' }))).toBe('no longer found: 1');
    expect(kneeInWords(curve, knee({}))).toBe('not stopped');
    expect(kneeInWords(curve, knee({ isSettled: false }))).toBe('not stopped so far');
  });

  it('make a table that spreadsheets read and no formula', () => {
    const report = { leaks: [leak({ title: '=HYPERLINK("x")' })], curves: [curve] } as unknown as DefenceReport;
    expect(defenceAsCsv(report)).toBe(
      'defence,level,value,unit,leak,measure,left,limit,standing,draws,detail\r\n' +
        'Gaussian noise,1,1,,"\'=HYPERLINK(""x"")",PSNR (dB),11.26,12,stopped,1,"a ""guess"", here"\r\n',
    );
  });
});
