import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { defend } from '../../../../src/audit/defence/defend.js';
import { fittedTo, flatPsnr } from '../../../../src/audit/defence/picture-distance.js';
import { pathsInFolder } from '../../../../src/facts/inputs.js';
import { EXIT, exitCode, factsOfDefence } from '../../../../src/cli/exit-code.js';
import type { DefendRequest } from '../../../../src/protocol/defend-request.js';
import type { DefenceReport } from '../../../../src/protocol/defence-report.js';
import { CancelledError } from '../../../../src/protocol/errors.js';
import { hashed } from '../../../networks.js';

const FIXTURES = join(import.meta.dirname, '../../../fixtures');
const folder = mkdtempSync(join(tmpdir(), 'gradleak-defend-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function requestOf(dump: string, more: Partial<DefendRequest> = {}, out?: string): DefendRequest {
  return {
    audit: { ...pathsInFolder(join(FIXTURES, dump)), method: 'auto', ...(out ? { out } : {}) },
    ...(out ? { out } : {}),
    effort: 'quick',
    timeLimitSeconds: 600,
    ...more,
  };
}
const quiet = { progress: () => undefined, pause: () => Promise.resolve() };
const curve = (report: DefenceReport, id: string) => report.curves.find((own) => own.id === id)!;
const leftOf = (report: DefenceReport, id: string, leak: string) =>
  curve(report, id).points.flatMap(({ left }) => left.filter((own) => own.leak === leak));

describe('a sweep over one sample', () => {
  it('finds what clipping leaves and noise takes, less from level to level', async () => {
    const report = await defend(requestOf('dumps/k10_hard_bias_default', { effort: 'thorough' }), quiet);
    expect(report.status).toBe('complete');
    expect(report.leaks.map(({ id }) => id)).toEqual(['label-0', 'feature-0']);
    // A factor hides neither label nor feature.
    expect(curve(report, 'clipping').knees.map(({ level }) => level)).toEqual([null, null]);
    expect(leftOf(report, 'clipping', 'label-0').every(({ left }) => left === 1)).toBe(true);
    const noise = curve(report, 'gaussian-noise');
    expect(noise.points.length).toBe(noise.levels.length);
    expect(noise.knees.every(({ level, isSettled }) => level !== null && isSettled)).toBe(true);
    const errors = leftOf(report, 'gaussian-noise', 'feature-0').map(({ left }) => left!);
    expect(errors.every((own, at) => at === 0 || own >= errors[at - 1]! - 0.05)).toBe(true);
    expect(errors[0]).toBeLessThan(0.01);
    expect(leftOf(report, 'gaussian-noise', 'label-0').at(0)).toMatchObject({ left: 1, draws: 8 });
    // Signs alone make the audit's own recovery fail; the best guess still reads the label.
    expect(leftOf(report, 'sign', 'label-0')[0]).toMatchObject({ left: 1, standing: 'leaks' });
    expect(leftOf(report, 'withholding', 'label-0')[0]).toMatchObject({ left: null, standing: 'not-found' });
  });

  it('says which level meets a target with settings for it, and where none does', async () => {
    const report = await defend(
      requestOf('dumps/k10_hard_bias_default', { target: { label: 0.2 }, defences: ['gaussian-noise', 'clipping'] }),
      quiet,
    );
    const [noise, clip] = report.target!.met;
    expect(noise!.level).not.toBeNull();
    expect(noise!.outcome).toBe('met');
    expect(clip).toMatchObject({ outcome: 'not-met', level: null });
    expect(report.target!.outcome).toBe('met');
    // Label 0.2 of ten classes lies within what guessing gives over so few draws, and that is said.
    expect(report.target!.remarks.join(' ')).toContain('by chance');
    const level = curve(report, 'gaussian-noise').levels[noise!.level!]!;
    const multiplier = level.value / Math.sqrt(report.update.numbers);
    expect(level.settings.map(({ library }) => library)).toEqual(['Opacus', 'TensorFlow Privacy', 'Flower']);
    expect(level.privacy.join(' ')).toMatch(/epsilon|promises nothing/);
    expect(curve(report, 'clipping').levels.every(({ privacy }) => privacy.length === 0)).toBe(true);
    expect(level.settings[0]!.code).toContain(`noise_multiplier=${Number(multiplier.toPrecision(3))}`);
    expect(level.settings[0]!.code).toContain(`max_grad_norm=${Number(report.update.norm.toPrecision(3))}`);
    const other = await defend(
      requestOf('dumps/k10_hard_bias_default', { target: { psnr: 15 }, defences: ['clipping'] }),
      quiet,
    );
    expect(other.target!.met[0]!.sentence).toContain('nothing that was followed');
    expect(other.target).toMatchObject({ outcome: 'unknown', met: [{ outcome: 'unknown' }] });
    expect(other.target!.remarks.join(' ')).toContain('not judged');
  });

  it('does not take for met what is no longer found', async () => {
    const report = await defend(
      requestOf('dumps/k10_hard_bias_default', { target: { label: 0.2 }, defences: ['withholding'] }),
      quiet,
    );
    expect(leftOf(report, 'withholding', 'label-0').some(({ standing }) => standing === 'not-found')).toBe(true);
    expect(report.target).toMatchObject({
      outcome: 'unknown',
      met: [{ outcome: 'unknown', level: null }],
    });
    expect(exitCode(factsOfDefence(report))).toBe(EXIT.notAssessed);
    const clipped = await defend(
      requestOf('dumps/k10_hard_bias_default', { target: { label: 0.2 }, defences: ['clipping'] }),
      quiet,
    );
    expect(exitCode(factsOfDefence(clipped))).toBe(EXIT.finding);
    expect(exitCode(factsOfDefence({ ...clipped, leaks: [] }))).toBe(EXIT.finding);
    const { target: _target, ...none } = { ...clipped, leaks: [] };
    expect(exitCode(factsOfDefence(none))).toBe(EXIT.notAssessed);
  });

  it('keeps the points that are done when it is stopped', async () => {
    const out = join(folder, 'stopped');
    let isOn = true;
    const report = await defend(requestOf('dumps/k10_hard_bias_default', {}, out), {
      progress: ({ message }) => {
        isOn &&= !message.startsWith('Keeping');
      },
      pause: () => (isOn ? Promise.resolve() : Promise.reject(new CancelledError())),
    });
    expect(report.status).toBe('stopped');
    expect(curve(report, 'gaussian-noise').points.length).toBeGreaterThan(0);
    expect(JSON.parse(readFileSync(join(out, 'defence.json'), 'utf8'))).toEqual(JSON.parse(JSON.stringify(report)));
    expect(existsSync(join(out, 'report.json'))).toBe(true);
  });
});

describe('sweeps over other kinds of dumps', () => {
  it('follow the samples of a batch', async () => {
    const report = await defend(
      requestOf('batches/trained-hard-bias-s0', { defences: ['gaussian-noise', 'sign'] }),
      quiet,
    );
    expect(report.leaks.map(({ id }) => id)).toEqual(['labels', 'features']);
    expect(curve(report, 'gaussian-noise').knees.every(({ level }) => level !== null)).toBe(true);
  });

  it('measure tokens by the longest rows where noise leaves none at zero', async () => {
    const report = await defend(requestOf('leaks/recommender', { defences: ['gaussian-noise'] }), quiet);
    const tokens = report.leaks.find(({ measure }) => measure.id === 'tokens')!;
    const left = leftOf(report, 'gaussian-noise', tokens.id);
    expect(left.some(({ left: share, standing }) => share! > 0.9 && standing === 'leaks')).toBe(true);
    expect(left.some(({ standing }) => standing === 'stopped')).toBe(true);
  });

  it('take weight decay off an update as long as it was sent', async () => {
    const updates = join(FIXTURES, 'updates');
    const report = await defend(
      {
        audit: {
          checkpoint: join(updates, 'before.pt'),
          gradients: join(updates, 'decay-before-minus-after.pt'),
          method: 'auto',
        },
        effort: 'thorough',
        timeLimitSeconds: 600,
        defences: ['clipping'],
      },
      quiet,
    );
    expect(report.leaks.map(({ id }) => id)).toContain('feature-0');
    for (const { id } of report.leaks) {
      expect(leftOf(report, 'clipping', id).every(({ standing }) => standing === 'leaks')).toBe(true);
    }
  });

  it('are honest about a dump of which nothing is certain', async () => {
    const report = await defend(requestOf('batches/untrained-noise-s0', { defences: ['clipping'] }), quiet);
    if (report.leaks.length === 0) {
      expect(report.sentence).toContain('does not say that nothing leaks');
    }
    expect(report.leaks.every(({ id }) => id !== 'features')).toBe(true);
  });
});

describe('how near a picture comes', () => {
  it('is blind to brightness and contrast, and a picture of one colour is the floor', () => {
    const truth = hashed(300, 1);
    const changed = truth.map((own) => 5 - 3 * own);
    const fit = fittedTo(changed, truth)!;
    expect(fit.psnr).toBe(100);
    changed.forEach((own, at) => {
      expect(fit.slope * own + fit.offset).toBeCloseTo(truth[at]!, 9);
    });
    expect(fittedTo(hashed(300, 2), truth)!.psnr).toBeGreaterThanOrEqual(flatPsnr(truth));
    expect(fittedTo(new Float64Array(300), truth)!.psnr).toBeCloseTo(flatPsnr(truth), 9);
    expect(fittedTo(new Float64Array(2), truth)).toBeUndefined();
  });
});

describe('a sweep over an input', () => {
  const withInput = (request: DefendRequest): DefendRequest => ({
    ...request,
    audit: {
      ...request.audit,
      reconstruction: { attack: 'chain', preset: 'soft-label', engine: 'auto', timeLimitSeconds: 30 },
    },
  });

  it('shows that clipping takes nothing from it, with pictures', async () => {
    const out = join(folder, 'input');
    // A quick sweep gives each level twice the time of the audit before it, which a machine that is suddenly busy exceeds.
    const report = await defend(
      withInput(requestOf('networks/two-convolutions', { defences: ['clipping'], effort: 'thorough' }, out)),
      quiet,
    );
    const input = report.leaks.find(({ measure }) => measure.id === 'psnr')!;
    const left = leftOf(report, 'clipping', input.id);
    expect(left.length).toBeGreaterThan(0);
    expect(left.every(({ standing }) => standing === 'leaks')).toBe(true);
    const pictures = left.flatMap(({ shown }) => (shown?.type === 'picture' ? [shown.file!] : []));
    expect(pictures.length).toBe(left.length);
    expect(pictures.every((file) => existsSync(join(out, file)))).toBe(true);
  }, 180_000);

  it('measures the best guess where no certificate confirms it', async () => {
    const report = await defend(withInput(requestOf('networks/mlp', { defences: ['gaussian-noise'] })), quiet);
    const input = report.leaks.find(({ measure }) => measure.id === 'psnr')!;
    const left = leftOf(report, 'gaussian-noise', input.id);
    // Noise of this size fails every certificate, and leaves a guess all the same.
    expect(left.every((own) => own.left !== null)).toBe(true);
    expect(left.some(({ standing }) => standing === 'leaks')).toBe(true);
    expect(left.at(-1)!.standing).toBe('stopped');
  });
});

describe('a sweep whose time is up', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  /** Hooks whose clock stands still, but for so many seconds where a level begins and at each pause in it. */
  function clocked(secondsOf: (level: string, isBegun: boolean) => number) {
    let now = performance.now();
    let level = '';
    vi.spyOn(performance, 'now').mockImplementation(() => now);
    return {
      progress: ({ message }: { message: string }) => {
        level = message;
        now += 1000 * secondsOf(level, true);
      },
      pause: () => {
        now += 1000 * secondsOf(level, false);
        return Promise.resolve();
      },
    };
  }
  const DUMP = 'dumps/k10_hard_bias_default';
  const timed = (dump: string, defences?: string[]) =>
    requestOf(dump, { timeLimitSeconds: 29, ...(defences ? { defences } : {}) });

  it('leaves out the levels of one that takes long, and tries those of the others', async () => {
    const hooks = clocked((level, isBegun) => (isBegun && level.startsWith('Clipping') ? 12 : 0));
    const report = await defend(timed(DUMP), hooks);
    expect(report.status).toBe('out-of-time');
    expect(curve(report, 'clipping').points.length).toBeLessThan(3);
    expect(curve(report, 'clipping').points.length).toBeGreaterThan(0);
    expect(curve(report, 'gaussian-noise').knees.every(({ isSettled }) => isSettled)).toBe(true);
    expect(curve(report, 'integer-quantisation').knees.every(({ isSettled }) => isSettled)).toBe(true);
  });

  it('keeps nothing of a level that its end cuts short', async () => {
    // The undefended audit takes 10 s, so that a level may take long, and the third that is searched more than is left.
    let levels = 0;
    const hooks = clocked((level, isBegun) => {
      if (level.startsWith('Undefended')) {
        return isBegun && level.includes('Recovering') ? 10 : 0;
      }
      levels += Number(isBegun);
      return levels >= 7 && !isBegun ? 10 : 0;
    });
    const request = timed('networks/mlp', ['gaussian-noise']);
    const report = await defend(
      {
        ...request,
        audit: {
          ...request.audit,
          reconstruction: { attack: 'chain', preset: 'soft-label', engine: 'auto', timeLimitSeconds: 30 },
        },
      },
      hooks,
    );
    expect(report.status).toBe('out-of-time');
    const left = curve(report, 'gaussian-noise').points.flatMap((point) => point.left);
    expect(left.length).toBeGreaterThan(0);
    expect(left.filter(({ standing }) => standing === 'untold')).toEqual([]);
  });
});
