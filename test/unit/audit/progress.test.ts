import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import type { AuditProgress } from '../../../src/protocol/audit-request.js';
import { NETWORKS } from '../../networks.js';

/** The bar tells the time that is left: what takes minutes has most of it. */
describe('progress', () => {
  it('never falls, and is in its first half when gradient matching begins', async () => {
    const seen: AuditProgress[] = [];
    const hooks = {
      progress: (own: AuditProgress): void => void seen.push(own),
      pause: () => Promise.resolve(),
    };
    const reconstruction = {
      attack: 'auto',
      preset: 'soft-label',
      engine: 'onnxruntime-cpu',
      timeLimitSeconds: 30,
      settings: { iterations: 20, restarts: 1 },
    } as const;
    await runAudit({ ...pathsInFolder(join(NETWORKS, 'pooled')), method: 'auto', reconstruction }, hooks);
    const fractions = seen.map(({ fraction }) => fraction);
    expect(fractions).toEqual([...fractions].sort((one, other) => one - other));
    const matching = seen.filter((own) => own.reconstruction?.method === 'matching');
    expect(matching[0]!.fraction).toBeLessThan(0.5);
    expect(fractions.at(-1)).toBeLessThanOrEqual(1);
  });
});
