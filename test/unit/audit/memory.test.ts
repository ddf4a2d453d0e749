import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { METHODS } from '../../../src/audit/registry.js';
import { runAudit } from '../../../src/audit/run-audit.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import type { Method } from '../../../src/methods/method.js';
import { UnusableInputError } from '../../../src/protocol/errors.js';
import { toyMethod } from '../../toy-method.js';

/** A method that needs more memory than there is: its row says so, and the others run. */

const FOLDER = join(import.meta.dirname, '..', '..', 'fixtures', 'dumps', 'k10_hard_bias_default');
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };
const tooLittle = new UnusableInputError({
  code: 'too-little-memory',
  file: 'gradient.pt',
  found: 'tensor "w" that needs 2000 MB of memory',
  expected: 'at most the 500 MB that are left of 1074 MB',
  advice: 'Run it with more memory.',
});

function audited(greedy: Partial<Method>) {
  const method: Method = { ...toyMethod, id: 'greedy', ...greedy };
  const request = { ...pathsInFolder(FOLDER), method: 'auto' as const };
  return runAudit(request, hooks, { methods: [method, ...METHODS] });
}

describe('want of memory in one method', () => {
  const ways: Record<string, [Partial<Method>, RegExp]> = {
    'where it looks whether it applies': [
      { applies: () => Promise.reject(tooLittle) },
      /found tensor "w" that needs 2000 MB of memory; expected at most the 500 MB that are left of 1074 MB\. Run it/,
    ],
    'where it runs': [{ run: () => Promise.reject(tooLittle) }, /found tensor "w" that needs 2000 MB of memory/],
    'that the system refuses': [
      { run: () => Promise.reject(new RangeError('Array buffer allocation failed')) },
      /the system gave no more of it\. Run it with more memory\./,
    ],
  };
  it.each(Object.entries(ways))('%s', async (_, [greedy, words]) => {
    const { report } = await audited(greedy);
    const row = report.methods?.find(({ id }) => id === 'greedy');
    expect(row).toMatchObject({ outcome: 'not-applicable' });
    expect(row?.detail).toMatch(/^Not done for want of memory: /);
    expect(row?.detail).toMatch(words);
    expect(report.samples).toHaveLength(1);
    expect(report.methods?.some(({ outcome }) => outcome === 'found')).toBe(true);
  });

  it('is not what every range error says', async () => {
    await expect(audited({ run: () => Promise.reject(new RangeError('Invalid array length')) })).rejects.toThrow(
      'Invalid array length',
    );
  });
});
