import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { RunningSweeps, type SweepEvent } from '../../../src/extension/running-sweeps.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('defences that are being tried', () => {
  it('tell of progress, now and then of what was written, and of their end', () => {
    const sweeps = new RunningSweeps();
    const seen: SweepEvent[] = [];
    sweeps.onDidChange((event) => seen.push(event));
    const stop = vi.fn();
    sweeps.begin('one', stop);
    sweeps.advance('one', { message: 'Noise', fraction: 0.2 });
    expect(sweeps.get('one')?.progress).toEqual({ message: 'Noise', fraction: 0.2 });
    vi.advanceTimersByTime(3000);
    sweeps.advance('one', { message: 'Noise', fraction: 0.3 });
    sweeps.advance('one', { message: 'Noise', fraction: 0.4 });
    sweeps.get('one')?.stop();
    expect(stop).toHaveBeenCalledOnce();
    sweeps.end('one');
    expect(seen.map(({ what }) => what)).toEqual(['advanced', 'advanced', 'written', 'advanced', 'ended']);
    expect(sweeps.get('one')).toBeUndefined();
  });

  it('take nothing of one that is over, and say why one failed', () => {
    const sweeps = new RunningSweeps();
    const seen: SweepEvent[] = [];
    sweeps.begin('one', () => undefined);
    sweeps.onDidChange((event) => seen.push(event));
    sweeps.end('one', 'The child process ended.');
    sweeps.advance('one', { message: 'Noise', fraction: 0.2 });
    expect(seen).toEqual([{ id: 'one', what: 'failed', problem: 'The child process ended.' }]);
  });

  it('are waited for before what they write to goes', async () => {
    const sweeps = new RunningSweeps();
    const order: string[] = [];
    sweeps.begin('one', () => order.push('asked'));
    const stopped = sweeps.stop('one').then(() => order.push('gone'));
    await Promise.resolve();
    order.push('still there');
    sweeps.end('one');
    await stopped;
    expect(order).toEqual(['asked', 'still there', 'gone']);
    await sweeps.stop('another');
  });
});
