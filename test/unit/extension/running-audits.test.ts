import { describe, expect, it } from 'vitest';
import { type RunEvent, RunningAudits } from '../../../src/extension/running-audits.js';

function begun(running: RunningAudits, id: string): void {
  running.begin({ id, gradients: `/x/${id}.pt`, stop: () => undefined });
}

describe('audits that run', () => {
  it('are told from beginning to end, newest first, each as one object', () => {
    const running = new RunningAudits();
    const events: RunEvent[] = [];
    const { dispose } = running.onDidChange((event) => void events.push(event));
    begun(running, 'a');
    begun(running, 'b');
    expect(running.list().map(({ id }) => id)).toEqual(['b', 'a']);
    const row = running.get('a');
    expect(row?.progress.fraction).toBe(0);
    running.advance('a', { stage: 'read', message: 'Reading', fraction: 0.5 });
    expect(running.get('a')).toBe(row);
    expect(row?.progress.message).toBe('Reading');
    running.end('a');
    dispose();
    running.end('b');
    expect(running.list()).toEqual([]);
    expect(events.map(({ id, what }) => `${id} ${what}`)).toEqual(['a begun', 'b begun', 'a advanced', 'a ended']);
  });

  it('take nothing more once they have ended', () => {
    const running = new RunningAudits();
    begun(running, 'a');
    running.end('a');
    const events: RunEvent[] = [];
    running.onDidChange((event) => void events.push(event));
    running.advance('a', { stage: 'write', message: 'late', fraction: 1 });
    running.end('a');
    expect(events).toEqual([]);
    expect(running.get('a')).toBeUndefined();
  });
});
