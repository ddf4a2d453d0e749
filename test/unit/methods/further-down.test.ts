import { join } from 'node:path';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import type * as InvertInputs from '../../../src/methods/input/invert-inputs.js';
import type * as WindowMaxima from '../../../src/recovery/walk/window-maxima.js';
import { NETWORKS, hashed } from '../../networks.js';

/** Choices of a max pooling that equal shares do not tell, and an image that does, which is off before they are told. */

const asked = vi.hoisted(() => ({ guesses: [] as boolean[], searches: 0, off: 0 }));

vi.mock('../../../src/recovery/walk/window-maxima.js', async (original) => {
  const actual = await original<typeof WindowMaxima>();
  return {
    ...actual,
    tellMaxima: async (...given: Parameters<typeof WindowMaxima.tellMaxima>) => {
      const [{ begin }] = given;
      asked.guesses.push(begin !== undefined);
      const told = await actual.tellMaxima(...given);
      return begin || typeof told === 'string' ? told : { ...told, residual: 0.5, uncertain: 0.5 };
    },
  };
});
vi.mock('../../../src/methods/input/invert-inputs.js', async (original) => {
  const actual = await original<typeof InvertInputs>();
  return {
    ...actual,
    invertInputs: async (...given: Parameters<typeof InvertInputs.invertInputs>) => {
      const inverted = await actual.invertInputs(...given);
      const isFirst = asked.searches++ === 0;
      const found = inverted.found.map((own) => {
        const noise = hashed(own.input.length, 4);
        return {
          ...own,
          input: own.input.map((value, at) => value + asked.off * noise[at]!),
          residual: 0.05,
          settled: false,
        };
      });
      return isFirst ? { ...inverted, found } : inverted;
    },
  };
});

beforeEach(() => {
  asked.guesses.length = 0;
  asked.searches = 0;
});

async function audited() {
  const folder = join(NETWORKS, 'two-convolutions-grey');
  const { report } = await runAudit(
    {
      ...pathsInFolder(folder),
      method: 'auto',
      truth: join(folder, 'truth.json'),
      reconstruction: { attack: 'chain', preset: 'soft-label', engine: 'onnxruntime-cpu', timeLimitSeconds: 60 },
    },
    { progress: () => undefined, pause: () => Promise.resolve() },
  );
  return { report, own: report.samples[0]!.reconstruction! };
}

describe('an image that is roughly right', () => {
  it('tells the choices that ended the way down, which goes on to the exact one', async () => {
    asked.off = 0.1;
    const { report, own } = await audited();
    expect(asked.guesses.at(0)).toBe(false);
    expect(asked.guesses).toContain(true);
    expect(asked.searches).toBe(2);
    expect(own).toMatchObject({ method: 'maps', verdict: 'exact' });
    expect(own.psnr).toBeGreaterThan(100);
    const table = report.leaks.find(({ method }) => method === 'input')!.details.find(({ type }) => type === 'table')!;
    expect(JSON.stringify(table)).toContain('"conv2","maxima"');
  });

  it('is no start where it is not: the search goes on as it would', async () => {
    asked.off = 30;
    const { own } = await audited();
    expect(asked.guesses).toContain(true);
    expect(asked.searches).toBe(2);
    // From the values above the pooling that could not be told.
    expect(own.verdict).not.toBe('failed');
    expect(own.psnr).toBeGreaterThan(20);
  });
});
