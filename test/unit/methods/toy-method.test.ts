import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readImages } from '../../../src/audit/output.js';
import { runAudit } from '../../../src/audit/run-audit.js';
import type { TraceEvent } from '../../../src/audit/trace.js';
import { renderReport } from '../../../src/cli/render-text.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import { METHODS } from '../../../src/audit/registry.js';
import { toSarif } from '../../../src/project/sarif.js';
import { resultOf } from '../../../src/project/summarise.js';
import type { ProjectEntry } from '../../../src/protocol/project-report.js';
import type { Report } from '../../../src/protocol/report.js';
import { CancelledError } from '../../../src/protocol/errors.js';
import { summaryOf } from '../../../src/words/report-words.js';
import { projectReport } from '../../project-entries.js';
import { toyMethod } from '../../toy-method.js';

/** A method that nothing else knows of reaches every surface: panel and page are in test/webview/panel.test.ts. */

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures');
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };
const out = mkdtempSync(join(tmpdir(), 'gradleak-toy-'));
afterAll(() => {
  rmSync(out, { recursive: true, force: true });
});

let report: Report;
const events: TraceEvent[] = [];
beforeAll(async () => {
  const request = { ...pathsInFolder(join(FIXTURES, 'dumps', 'k10_hard_bias_default')), method: 'auto' as const, out };
  const trace = (event: TraceEvent): number => events.push(event);
  ({ report } = await runAudit(request, hooks, { methods: [...METHODS, toyMethod], trace }));
});

describe('a method that is registered and nothing else', () => {
  it('is in the report, with its certificate, its files and its finding', () => {
    const leak = report.leaks.find(({ method }) => method === 'toy');
    expect(leak).toMatchObject({ tensor: 'fc.weight', files: ['toy-0.npy'], certificate: { verdict: 'exact' } });
    expect(existsSync(join(out, 'toy-0.npy'))).toBe(true);
    expect(report.findings).toContainEqual(expect.objectContaining({ id: 'toy-found', severity: 'medium' }));
    expect(report.methods?.at(-1)).toMatchObject({ id: 'toy', title: toyMethod.title, outcome: 'found' });
  });

  it('is drawn in the terminal, every detail of it', () => {
    const text = renderReport(report, 140);
    expect(text).toMatch(/^Toy {9}fc\.weight: its largest number is \S+ \(toy-0\.npy\)$/m);
    expect(text).toContain('Read from fc.weight, as anybody could.');
    expect(text).toMatch(/^ +Rank {3}Number$/m);
    expect(text).toMatch(/most {2}█{12}▒{6}·{12} {2}40 to 60 %/);
    expect(text).toContain('Toy curve, run: loss from 4 to 1, lowest 1 at step 2');
    expect(text).toContain('" toy" word ...');
    expect(text).toMatch(
      /^ {12}Text 1 \(positive; 1 of 3 tokens uncertain\)\n {14}A toy \[leaks\?\]\.↵ On two lines\.$/m,
    );
    expect(text).toContain('Toy picture: 1 x 8 x 8 numbers, toy-0.npy');
    expect(text).toContain('"hologram", which this version does not know');
    expect(text).toMatch(/^ +note +of a later version$/m);
    expect(text).toContain('A toy can be read from this gradient');
  });

  it('is in the summary, in a project and in SARIF', () => {
    expect(summaryOf(report)).toContain('medium: A toy can be read from this gradient');
    expect(summaryOf(report)).toContain('The largest number of the head: found.');
    expect(summaryOf(report)).toContain('Text 1 (positive; 1 of 3 tokens uncertain): A toy leaks. On two lines.');
    const result = resultOf(report);
    expect(result.layers).toContain('fc.weight');
    const entry = { id: 'toy', gradients: 'g.pt', checkpoint: 'c.pt', run: 'r', status: 'done', result, change: 'new' };
    const entries = [{ ...entry, round: null, script: null, fit: 1 } as unknown as ProjectEntry];
    const log = toSarif(projectReport(entries));
    expect(log.runs[0]?.results?.map(({ ruleId }) => ruleId)).toContain('toy-found');
  });

  it('gives its picture to the panel by the name of its file', () => {
    const [image] = readImages(out, report);
    expect(image).toMatchObject({ sample: null, file: 'toy-0.npy', shape: [1, 8, 8] });
    const pixels = new Float32Array(Uint8Array.from(Buffer.from(image!.values, 'base64')).buffer);
    expect([...pixels.slice(0, 3)]).toEqual([0, 1 / 64, 2 / 64]);
  });

  it('is traced: what it asked for, and what came of it', () => {
    expect(events).toContainEqual(
      expect.objectContaining({ fact: 'head', value: { weight: 'fc.weight', classes: 10 } }),
    );
    expect(events.at(-1)).toMatchObject({ method: 'toy', applies: true, outcome: 'found', leaks: 1 });
    const facts = events.flatMap((event) => ('fact' in event ? [event.fact] : []));
    expect(new Set(facts).size).toBe(facts.length);
  });

  it('is stopped without taking along what others found', async () => {
    const folder = join(FIXTURES, 'leaks', 'language');
    const stopping = { ...toyMethod, run: () => Promise.reject(new CancelledError()) };
    const request = { ...pathsInFolder(folder), method: 'auto' as const };
    const stopped = (await runAudit(request, hooks, { methods: [...METHODS, stopping] })).report;
    expect(stopped.cancelled).toBe(true);
    expect(stopped.samples[0]!.status).toBe('recovered');
    expect(stopped.leaks.filter(({ method }) => method === 'embedding-rows')).toHaveLength(2);
    expect(stopped.methods?.at(-1)).toMatchObject({ id: 'toy', outcome: 'not-applicable' });
    const failing = { ...toyMethod, run: () => Promise.reject(new Error('a defect')) };
    await expect(runAudit(request, hooks, { methods: [failing] })).rejects.toThrow('a defect');
  });

  it('makes a leak of what nothing else reads, and says why where it does not apply', async () => {
    const request = { ...pathsInFolder(join(FIXTURES, 'heads', 'backbone')), method: 'auto' as const };
    const headless = (await runAudit(request, hooks, { methods: [toyMethod] })).report;
    expect(headless.verdict.outcome).toBe('not-assessed');
    expect(headless.methods).toEqual([
      {
        id: 'toy',
        title: toyMethod.title,
        assumes: toyMethod.assumes,
        outcome: 'not-applicable',
        detail: 'There is no head to look at.',
      },
    ]);
    const kinds = join(FIXTURES, 'kinds', 'lenet');
    const noise = { checkpoint: join(kinds, 'checkpoint.pt'), gradients: join(kinds, 'random.pt') };
    const hidden = (await runAudit({ ...noise, method: 'auto' }, hooks, { methods: [toyMethod] })).report;
    expect(hidden.verdict.outcome).toBe('leaks');
    expect(hidden.verdict.sentence).toMatch(
      /cannot be told from noise.*Other parts of this gradient leak: the largest/,
    );
    const adam = { ...noise, gradients: join(kinds, 'adam.pt') };
    const reader = { ...toyMethod, kinds: ['adam-step'] } as const;
    const read = (await runAudit({ ...adam, method: 'auto' }, hooks, { methods: [...METHODS, reader] })).report;
    expect(read.leaks.map(({ method }) => method)).toEqual(['toy']);
    expect(read.verdict.outcome).toBe('leaks');
  });
});
