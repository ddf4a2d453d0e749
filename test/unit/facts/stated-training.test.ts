import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { isCapture, pathsInFolder } from '../../../src/facts/inputs.js';
import { withStatements } from '../../../src/facts/stated-training.js';
import type { Report, UpdateReport } from '../../../src/protocol/report.js';

/** What capture_update of gradleak_capture.py wrote (test/fixtures/make_client_fixtures.py). */

const CLIENTS = join(import.meta.dirname, '..', '..', 'fixtures', 'clients');
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };

async function audited(client: string): Promise<Report> {
  const folder = join(CLIENTS, client);
  expect(isCapture(folder)).toBe(true);
  return (await runAudit({ ...pathsInFolder(folder), method: 'auto' }, hooks)).report;
}

const reasonsOf = ({ update }: Report): string => update?.reasons.join(' ') ?? '';

describe('what a client sent', () => {
  it.each(['one-step', 'one-step-list', 'one-step-named'])('%s: label and rate are told', async (client) => {
    const { update, samples } = await audited(client);
    expect(update).toMatchObject({ kind: 'difference', sign: -1, signToldBy: 'files' });
    expect(samples).toHaveLength(1);
    expect(samples[0]).toMatchObject({ status: 'recovered', label: { kind: 'hard', classes: [{ index: 7 }] } });
    expect(samples[0]?.gradientScale).toBeCloseTo(0.1, 4);
  });

  it('what was stated is shown as that, and one stated step is not counted', async () => {
    const report = await audited('one-step-named');
    expect(reasonsOf(report)).toContain(
      'capture.json says that the client sent weights after local training: optimiser "SGD", learning rate 0.1, local steps 1, batch size 1, samples 1. Nobody checked that.',
    );
    expect(report.update?.steps).toBeUndefined();
  });

  it.each([
    ['three-steps', 3],
    ['three-steps-by-samples', undefined],
  ])('%s: several stated steps are not read as one', async (client, steps) => {
    const report = await audited(client);
    expect(report.update).toMatchObject({ kind: 'several-steps', ...(steps === undefined ? {} : { steps }) });
    expect(report.verdict.outcome).toBe('not-assessed');
    expect(reasonsOf(report)).not.toContain('it is read as one');
  });

  it('an optimiser that the numbers contradict is not believed', async () => {
    const report = await audited('adam-as-sgd');
    expect(report.update?.kind).toBe('adam-step');
    expect(reasonsOf(report)).toContain(
      'That does not go with the numbers: entries of one size are not what "SGD" leaves.',
    );
  });
});

describe('a count in the numbers is believed', () => {
  const update: UpdateReport = { kind: 'difference', reasons: [], sign: -1, absoluteError: 0, steps: 1 };

  it('where more steps were stated', () => {
    const own = withStatements(update, { training: { steps: 4 }, source: 'capture.json' });
    expect(own).toMatchObject({ kind: 'difference', steps: 1 });
    expect(own.reasons.join(' ')).toContain('steps are counted as 1 and not as 4: the count is believed');
  });

  it('where as many were stated, nothing contradicts', () => {
    expect(withStatements(update, { training: { steps: 1 }, source: 'capture.json' }).reasons.join(' ')).not.toContain(
      'does not go',
    );
  });
});
