import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { findingsOf, reaches } from '../../../src/audit/findings.js';
import { openTensorFile } from '../../../src/formats/open.js';
import type { ForeignGlobal, TensorFile } from '../../../src/formats/tensor-file.js';
import { labelFindings } from '../../../src/methods/head/label-findings.js';
import { sweepNoise } from '../../../src/methods/head/noise-sweep.js';
import { describeSample } from '../../../src/methods/head/sample-report.js';
import { inputFindings } from '../../../src/methods/input/input-findings.js';
import type { Leak } from '../../../src/methods/method.js';
import { nothingRebuilt } from '../../../src/methods/reconstruction-report.js';
import type { Finding, ReconstructionReport, SampleReport, Severity } from '../../../src/protocol/report.js';
import { shapeOfGradient, type HeadGradient } from '../../../src/recovery/head-gradient.js';
import { generator } from '../../../src/recovery/paper-method.js';
import type { RecoveredSample } from '../../../src/recovery/recovered-sample.js';
import { recoverSingle } from '../../../src/recovery/single-sample.js';
import { type SyntheticLabel, gaussian, syntheticSample } from '../../synthetic-head.js';

/** What is said of leaks as risks: how severe each is, and that no guess is told as a fact. */

const HOSTILE = join(import.meta.dirname, '..', '..', 'fixtures', 'hostile');

function finding(id: string, severity: Severity, evidence = id): Finding {
  return { id, severity, title: `About ${id}`, evidence, mitigation: `Against ${id}` };
}

function leak(sample: number | null, ...findings: Finding[]): Leak {
  return {
    noun: 'Leak',
    what: 'what leaks',
    brief: null,
    title: 'The leak',
    amount: null,
    sample,
    tensor: null,
    certificate: null,
    gives: { inputs: 0, tokens: 0 },
    details: [],
    findings,
    arrays: [],
  };
}

describe('findings of an audit', () => {
  const sample = finding('sample', 'high');
  const low = finding('low', 'low');
  const critical = finding('critical', 'critical');
  const medium = finding('medium', 'medium');

  it('are sorted, worst first, and equals keep their order', () => {
    const other = finding('other', 'low');
    const found = findingsOf([], [leak(null, low, other), leak(0, medium, sample), leak(null, critical)], 10);
    expect(found.map(({ id }) => id)).toEqual(['critical', 'sample', 'medium', 'low', 'other']);
  });

  it('are left as they are for a single sample, whichever methods tell of it', () => {
    const again = finding('sample', 'high', 'again');
    expect(findingsOf([], [leak(0, sample), leak(0, again)], 10)).toEqual([sample, again]);
  });

  it('are one for each id of a batch, which tells how many samples leak and shows the first', () => {
    const found = findingsOf(
      [],
      [
        leak(0, finding('label', 'high', 'first'), medium),
        leak(1, finding('label', 'high', 'second')),
        leak(null, low),
      ],
      100,
    );
    expect(found.map(({ id, title }) => [id, title])).toEqual([
      ['label', 'About label, for 2 samples of the batch'],
      ['medium', 'About medium, for 1 sample of the batch'],
      ['low', 'About low'],
    ]);
    expect(found[0]!.evidence).toBe('The one that shows most: first');
    expect(found[0]!.mitigation).toContain('up to about 49,');
    expect(found[2]).toEqual(low);
  });

  it('reach a threshold at its own severity and above', () => {
    expect(reaches([medium], 'medium')).toBe(true);
    expect(reaches([medium], 'low')).toBe(true);
    expect(reaches([medium, low], 'high')).toBe(false);
    expect(reaches([], 'low')).toBe(false);
  });
});

describe('findings on pickles', () => {
  const files: TensorFile[] = [];
  const open = (name: string): TensorFile => {
    const file = openTensorFile(join(HOSTILE, name));
    files.push(file);
    return file;
  };
  const naming = (...globals: Omit<ForeignGlobal, 'called'>[]): TensorFile => ({
    path: 'named.pt',
    format: 'torch-zip',
    entries: [],
    foreignGlobals: globals.map((own) => ({ ...own, called: true })),
    notes: [],
    read: () => {
      throw new Error('no finding needs a tensor');
    },
    close: () => undefined,
  });

  afterAll(() => {
    files.forEach((file) => {
      file.close();
    });
  });

  it('tell what a file would run, before everything else', () => {
    const [first, second] = findingsOf([open('os_system.pt')], [leak(null, finding('critical', 'critical'))], 0);
    expect(first).toMatchObject({ id: 'pickle-runs-code', severity: 'critical' });
    expect(first!.evidence).toMatch(/os_system\.pt would run posix\.system when loaded/);
    expect(second!.id).toBe('critical');
  });

  it('tell unfamiliar names, each once and at most eight', () => {
    const unknown = Array.from({ length: 10 }, (_, at) => ({
      module: 'own',
      name: `f${at}`,
      risk: 'unknown' as const,
    }));
    const found = findingsOf([naming(...unknown, unknown[0]!)], [], 0);
    expect(found.map(({ id, severity }) => [id, severity])).toEqual([['pickle-unknown-code', 'medium']]);
    expect(found[0]!.evidence.match(/own\.f\d/g)).toEqual(unknown.slice(0, 8).map(({ name }) => `own.${name}`));
  });

  it('tell the dangerous of a file that names both, and nothing of inert classes', () => {
    const unknown = { module: 'own', name: 'f', risk: 'unknown' } as const;
    const evil = { module: 'builtins', name: 'eval', risk: 'dangerous' } as const;
    expect(findingsOf([naming(unknown, evil)], [], 0).map(({ id }) => id)).toEqual(['pickle-runs-code']);
    expect(findingsOf([naming({ module: 'own', name: 'Net', risk: 'class' })], [], 0)).toEqual([]);
  });
});

describe('findings on inputs', () => {
  const report = (own: Partial<ReconstructionReport>): ReconstructionReport => ({
    ...nothingRebuilt('A reason.'),
    shape: [3, 32, 32],
    method: 'chain',
    ...own,
  });

  it.each([
    ['exact', 'critical', 'The training input itself can be computed'],
    ['close', 'high', 'Much of the training input can be computed'],
  ] as const)('of the verdict "%s" are %s', (verdict, severity, title) => {
    const [own, ...rest] = inputFindings(report({ verdict }));
    expect(own).toMatchObject({ id: 'input-reconstructed', severity, title });
    expect(own!.evidence).toBe('3 x 32 x 32 numbers, by a closed form, without any search. A reason.');
    expect(rest).toEqual([]);
  });

  it('say when a search found them', () => {
    expect(inputFindings(report({ verdict: 'close', method: 'matching' }))[0]!.evidence).toContain('gradient matching');
  });

  it.each(['uncertain', 'failed'] as const)('there are none of the verdict "%s"', (verdict) => {
    expect(inputFindings(report({ verdict }))).toEqual([]);
    expect(inputFindings(report({ verdict, usedTruth: true }))).toEqual([]);
  });

  it.each(['exact', 'close'] as const)('with the true label are no evidence of a leak, even when %s', (verdict) => {
    const found = inputFindings(report({ verdict, method: 'matching', usedTruth: true }));
    expect(found.map(({ id, severity }) => [id, severity])).toEqual([['input-reconstructed-with-true-label', 'low']]);
  });
});

interface Recovered {
  readonly head: HeadGradient;
  readonly sample: RecoveredSample;
  readonly report: SampleReport;
}

/** @param noise standard deviation on the weight gradient, as a share of its root mean square */
function recover(kind: SyntheticLabel, bias: boolean, noise = 0, foreign = false): Recovered {
  const random = generator(33);
  const made = syntheticSample({ classes: 10, features: 64, kind, bias, random, spread: 2 });
  const { data, ...size } = made.head.weightGradient;
  const deviation = (noise * Math.hypot(...data)) / Math.sqrt(data.length);
  const noisy = data.map((value) => value + deviation * gaussian(random));
  const { weight } = foreign
    ? syntheticSample({ classes: 10, features: 64, kind, bias, random, spread: 2 }).head
    : made.head;
  const head = { ...made.head, weight, weightGradient: { ...size, data: noisy } };
  const sample = recoverSingle(head, shapeOfGradient(head));
  return { head, sample, report: describeSample(sample, 0, head, undefined, false) };
}

function toldOf({ report }: Recovered): [string, Severity][] {
  const facts = { className: (index: number) => `class ${index}`, sweep: undefined };
  return labelFindings(report, facts).map(({ id, severity }) => [id, severity]);
}

describe('findings on labels', () => {
  const named = { className: (index: number) => `class ${index}`, sweep: undefined };

  it('of a recovered one are that label and feature can be computed', () => {
    const own = recover('hard', true);
    expect(own.report.status).toBe('recovered');
    expect(toldOf(own)).toEqual([
      ['label-recovered', 'high'],
      ['feature-recovered', 'high'],
    ]);
    const [label, feature] = labelFindings(own.report, named);
    expect(label!.title).toBe('The label can be computed');
    expect(label!.evidence).toContain(`It is class ${own.report.label.classes[0]!.index};`);
    expect(feature!.evidence).toMatch(/^All 64 numbers/);
  });

  it('say what smoothing and mixing did not hide', () => {
    expect(toldOf(recover('smoothed', true)).slice(2)).toEqual([['smoothing-hides-nothing', 'medium']]);
    expect(toldOf(recover('mixup-smoothed', false)).slice(2)).toEqual([
      ['smoothing-hides-nothing', 'medium'],
      ['mixup-hides-nothing', 'medium'],
    ]);
  });

  it('of an ambiguous one whose class is sure are of the class, not of the label', () => {
    const own = recover('smoothed', false, 0.1);
    expect(own.report.status).toBe('ambiguous');
    expect(own.report.label.classConfidence).toBeGreaterThan(0.99);
    expect(toldOf(own)).toEqual([
      ['label-recovered', 'high'],
      ['feature-recovered', 'high'],
    ]);
    expect(labelFindings(own.report, named)[0]!.title).toBe('The class of the label can be computed');
  });

  it('of a guess are low, and the feature is only a direction without a bias gradient', () => {
    const own = recover('hard', false, 0.3);
    expect(own.report.status).toBe('ambiguous');
    expect(toldOf(own)).toEqual([
      ['label-recovered', 'low'],
      ['feature-direction-recovered', 'medium'],
    ]);
    expect(labelFindings(own.report, named)[0]!.title).toMatch(/could guess the label, and might be wrong$/);
  });

  it('of a guess with a bias gradient keep the feature, which does not hang on the label', () => {
    const own = recover('hard', true, 0.3);
    expect(own.report).toMatchObject({ status: 'ambiguous', method: 'closed-form-bias' });
    expect(toldOf(own)).toEqual([
      ['label-recovered', 'low'],
      ['feature-recovered', 'high'],
    ]);
  });

  it('of one that is not identifiable are of the direction alone', () => {
    const own = recover('hard', false, 0, true);
    expect(own.report.status).toBe('not-identifiable');
    expect(toldOf(own)).toEqual([['feature-direction-recovered', 'medium']]);
  });

  it('of one that may be several are of a sum over them', () => {
    const own = recover('hard', false, 0, true);
    const [finding] = labelFindings({ ...own.report, mayBeSeveral: true }, named);
    expect(finding).toMatchObject({ id: 'feature-sum-recovered', severity: 'medium' });
    expect(finding!.evidence).not.toContain('single sample');
  });

  it('of a sample of a batch that noise blurs tell the error of its feature, and not that it is alone', () => {
    const { report } = recover('smoothed', false);
    const blurred = { ...report, status: 'ambiguous' as const, featureError: 0.07, multiplicity: 1 };
    const label = { ...blurred.label, classConfidence: 0.9 };
    const found = labelFindings({ ...blurred, label }, named);
    expect(found.map(({ id, severity }) => [id, severity])).toContainEqual(['feature-estimated', 'medium']);
    const own = found.find(({ id }) => id === 'feature-estimated')!;
    expect(own.evidence).toContain('an expected relative error of 0.07');
    expect(own.evidence).not.toContain('single sample');
  });

  it('tell the noise that would have hidden the class, as it was tried', () => {
    const { head, sample, report } = recover('hard', true);
    const sweep = sweepNoise(head, sample)!;
    const { mitigation } = labelFindings(report, { ...named, sweep })[0]!;
    expect(sweep.stopsAt).not.toBeNull();
    expect(mitigation).toContain(`(${sweep.stopsAt!} x the gradient's root mean square)`);
    expect(mitigation).toContain(`readable in ${sweep.toldAtStop} of ${sweep.draws} trials`);
    const none = { ...sweep, stopsAt: null, standardDeviation: null };
    expect(labelFindings(report, { ...named, sweep: none })[0]!.mitigation).toContain('Noise alone does not help here');
  });
});
