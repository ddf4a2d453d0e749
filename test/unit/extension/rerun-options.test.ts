import { describe, expect, it } from 'vitest';
import type { AuditSettings } from '../../../src/extension/launch-audit.js';
import { type RerunOption, rerunOptions } from '../../../src/extension/rerun-options.js';

const SETTINGS: AuditSettings = {
  method: 'auto',
  batchSize: 4,
  reconstruction: {
    attack: 'auto',
    preset: 'soft-label',
    engine: 'auto',
    timeLimitSeconds: 600,
    model: '/x/network.onnx',
  },
};

function option<F extends RerunOption['form']>(
  form: F,
  label: string,
  settings = SETTINGS,
): Extract<RerunOption, { form: F }> {
  const found = rerunOptions(settings).find((own) => own.label === label && own.form === form);
  expect(found).toBeDefined();
  return found as Extract<RerunOption, { form: F }>;
}

describe('what can be changed before an audit is run again', () => {
  it('says how it is now', () => {
    const values = Object.fromEntries(rerunOptions(SETTINGS).map(({ label, value }) => [label, value]));
    expect(values).toMatchObject({
      'Batch size': '4',
      Head: 'found automatically',
      Inputs: 'closed form, else gradient matching',
      'Network’s file': '/x/network.onnx',
      'Time for gradient matching': '600 s',
    });
  });

  it('changes that alone, and nothing in place', () => {
    const before = structuredClone(SETTINGS);
    expect(option('text', 'Batch size').set('8')).toEqual({ ...SETTINGS, batchSize: 8 });
    expect(option('text', 'Batch size').set('')).not.toHaveProperty('batchSize');
    expect(option('text', 'Head').set('fc')).toEqual({ ...SETTINGS, head: 'fc' });
    expect(option('file', 'Network’s file').set(undefined).reconstruction).not.toHaveProperty('model');
    expect(option('file', 'Network’s file').set('/y.onnx').reconstruction?.model).toBe('/y.onnx');
    expect(option('text', 'Time for gradient matching').set('30').reconstruction?.timeLimitSeconds).toBe(30);
    const [, paper] = option('choice', 'Method').choices;
    expect(paper?.settings).toEqual({ ...SETTINGS, method: 'paper' });
    expect(SETTINGS).toEqual(before);
  });

  it('refuses what is no number of samples or seconds', () => {
    const { problem } = option('text', 'Batch size');
    expect([problem(''), problem('12')]).toEqual([undefined, undefined]);
    for (const text of ['0', '-1', '1.5', 'four', '1e9', '99999999999']) {
      expect(problem(text)).toMatch(/whole number/);
    }
    expect(option('text', 'Time for gradient matching').problem('')).toMatch(/whole number/);
  });

  it('offers of gradient matching what matching makes use of', () => {
    const labels = (attack: 'none' | 'chain'): string[] =>
      rerunOptions({ ...SETTINGS, reconstruction: { ...SETTINGS.reconstruction!, attack } }).map(({ label }) => label);
    expect(labels('chain')).toEqual(['Method', 'Batch size', 'Head', 'Inputs', 'Network’s file']);
    expect(labels('none')).toEqual(['Method', 'Batch size', 'Head', 'Inputs']);
    expect(rerunOptions({ method: 'auto' }).map(({ label }) => label)).toEqual(['Method', 'Batch size', 'Head']);
  });
});
