import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { afterAll, describe, expect, it } from 'vitest';
import { openTensorFile } from '../../../src/formats/open.js';
import type { Report } from '../../../src/protocol/report.js';
import { NETWORKS } from '../../networks.js';
import { cli, cliUntil } from '../../run-cli.js';
import { parse } from '../../../src/cli/arguments.js';
import { RECONSTRUCTION_OPTIONS, reconstructionRequest } from '../../../src/cli/reconstruction-options.js';

const ROOT = join(import.meta.dirname, '..', '..', '..');
const DUMPS = join(ROOT, 'test', 'fixtures', 'dumps');
const dump = (name: string): string => join(DUMPS, name);
const folder = mkdtempSync(join(tmpdir(), 'gradleak-cli-'));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe('gradleak audit', () => {
  it('prints the recovered class with a bar, and exits 0', async () => {
    const { code, out, err } = await cli('audit', join(ROOT, 'media', 'example'));
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toContain('the label is seven');
    expect(out).toMatch(/seven +█+·+ +91\.0 %/);
    expect(out).toMatch(/9 others +█+·+ +9\.0 %/);
  });

  it('writes a report that its schema describes, and the features', async () => {
    const out = join(folder, 'written');
    const truth = join(dump('k10_smooth_bias_default'), 'truth.json');
    const { code } = await cli(
      'audit',
      dump('k10_smooth_bias_default'),
      '--truth',
      truth,
      '--out',
      out,
      '--format',
      'json',
    );
    expect(code).toBe(0);
    const report = JSON.parse(readFileSync(join(out, 'report.json'), 'utf8')) as Report;
    const schema = JSON.parse(readFileSync(join(ROOT, 'media', 'report.schema.json'), 'utf8')) as object;
    const validate = new Ajv({ strict: false }).compile(schema);
    expect(validate(report), JSON.stringify(validate.errors)).toBe(true);
    expect(validate({ ...report, schemaVersion: 3 })).toBe(false);
    const features = openTensorFile(join(out, 'features.npy'));
    expect(features.entries[0]).toMatchObject({ shape: [1, report.head?.features], dtype: 'float64' });
    const expected = (JSON.parse(readFileSync(truth, 'utf8')) as { feature: number[][] }).feature[0]!;
    const { data } = features.read('array');
    expected.forEach((value, at) => {
      expect(data[at]).toBeCloseTo(value, 5);
    });
    features.close();
    expect(report.truth?.samples[0]?.labelMaxError).toBeLessThan(1e-5);
    expect(report.truth?.samples[0]?.featureRelativeError).toBeLessThan(1e-4);
  });

  it('writes what each method saw and decided, and none of the numbers, to a new file', async () => {
    const trace = join(folder, 'trace.jsonl');
    expect((await cli('audit', dump('k10_hard_bias_default'), '--attack', 'none', '--trace', trace)).code).toBe(0);
    const [first, ...events] = readFileSync(trace, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(first).toMatchObject({ node: process.version, request: { method: 'auto' } });
    expect(events).toContainEqual(expect.objectContaining({ fact: 'update' }));
    expect(events).toContainEqual(expect.objectContaining({ method: 'head-single', applies: true, outcome: 'found' }));
    expect(events).toContainEqual(expect.objectContaining({ method: 'head-batch', applies: null }));
    expect(readFileSync(trace).length).toBeLessThan(8192);
    const again = await cli('audit', dump('k10_hard_bias_default'), '--attack', 'none', '--trace', trace);
    expect(again.code).toBe(2);
    expect(again.err).toContain('a new file to write the trace to');
  });

  it('minimises a dump and says what is left of it', async () => {
    const out = join(folder, 'minimised');
    const { code, out: text } = await cli('minimise', dump('k10_hard_bias_default'), '--out', out);
    expect(code).toBe(0);
    expect(text).toContain('Audited like yours: leaks.');
    expect(text).toMatch(/shuffled and mirrored +\d: fc\.weight/);
    expect((await cli('minimise', dump('k10_hard_bias_default'))).code).toBe(2);
    expect((await cli('audit', out, '--attack', 'none')).out).toContain('This gradient gives away its one sample');
  });

  it('batch reports follow the schema too', async () => {
    const { out } = await cli('audit', dump('batch6_bias'), '--format', 'json');
    const schema = JSON.parse(readFileSync(join(ROOT, 'media', 'report.schema.json'), 'utf8')) as object;
    expect(new Ajv({ strict: false }).compile(schema)(JSON.parse(out))).toBe(true);
  });

  it('truth never influences a result', async () => {
    const without = await cli('audit', dump('k10_hard_nobias_trained'), '--format', 'json');
    const wrong = join(dump('k10_mixup_nobias_trained'), 'truth.json');
    const withTruth = await cli('audit', dump('k10_hard_nobias_trained'), '--truth', wrong, '--format', 'json');
    const samples = (text: string): unknown =>
      (JSON.parse(text) as Report).samples.map(({ reconstruction, ...rest }) => ({
        ...rest,
        gradientError: reconstruction?.gradientError,
      }));
    expect(samples(withTruth.out)).toEqual(samples(without.out));
    expect((JSON.parse(withTruth.out) as Report).truth?.samples[0]?.labelMaxError).toBeGreaterThan(0.1);
  });

  it('exits 1 on a finding as severe as asked', async () => {
    const audit = ['audit', dump('k10_hard_bias_default'), '--attack', 'none'];
    expect((await cli(...audit, '--fail-on', 'high')).code).toBe(1);
    expect((await cli(...audit, '--fail-on', 'critical')).code).toBe(0);
    // Its input can be computed exactly, which is worse.
    expect((await cli('audit', dump('k10_hard_bias_default'), '--fail-on', 'critical')).code).toBe(1);
  });

  it('exits 2 on unusable input, naming the file', async () => {
    const { code, err } = await cli('audit', '--checkpoint', 'nowhere.pt', '--gradients', 'nothing.pt');
    expect(code).toBe(2);
    expect(err).toContain('nowhere.pt: found no such file');
  });

  it('exits 2 on a gradient of another checkpoint, and still writes what it found', async () => {
    const out = join(folder, 'mismatch');
    const checkpoint = join(dump('k10_hard_bias_default'), 'checkpoint.pt');
    const gradients = join(dump('k10_smooth_bias_default'), 'gradient.pt');
    const { code, err } = await cli('audit', '--checkpoint', checkpoint, '--gradients', gradients, '--out', out);
    expect(code).toBe(2);
    expect(err).toContain('another checkpoint');
    expect(err).toMatch(/\n {2}--checkpoint C {2}the checkpoint that the gradient was computed with\n$/);
    expect(err).not.toContain(ROOT);
    expect(existsSync(join(out, 'report.json'))).toBe(true);
  });

  it.each([
    ['audit'],
    ['audit', 'a', 'b'],
    ['audit', 'a', '--layout', 'sideways'],
    ['audit', 'a', '--fail-on', 'terrible'],
    ['audit', 'a', '--colour'],
    ['audit', 'a', '--attack', 'brute-force'],
    ['audit', 'a', '--iterations', '1.5'],
    ['audit', 'a', '--learning-rate', 'fast'],
    ['audit', 'a', '--input-shape', '3xx32'],
    ['audit', 'a', '--engine', 'abacus'],
    ['audit', 'a', '--html'],
    ['levitate'],
  ])('exits 2 on bad arguments: %s %s %s', async (...args) => {
    const { code, err } = await cli(...args.filter((arg) => typeof arg === 'string'));
    expect(code).toBe(2);
    expect(err).toContain('command line');
  });

  it.each([
    [['audit', 'a', '--modle', 'x.onnx'], 'Did you mean --model?'],
    [['audit', 'a', '--batchsize', '3'], 'Did you mean --batch-size?'],
    [['audit', 'a', '--chekpoint', 'c.pt'], 'Did you mean --checkpoint?'],
    [['audit', 'a', '--check', 'c.pt'], 'Did you mean --checkpoint?'],
    [['audit', 'a', '--attack', 'chian'], 'Did you mean chain?'],
    [['audit', 'a', '--normalisation', 'cifar-10'], 'Did you mean cifar10?'],
    [['inspect', 'a', '--fromat', 'json'], 'Did you mean --format?'],
    [['audti', 'a'], 'Did you mean audit?'],
    [['minimize', 'a'], 'Did you mean minimise?'],
    [[join(ROOT, 'media', 'example')], 'Did you mean gradleak audit media/example?'],
    [[join(ROOT, 'package.json')], 'Did you mean gradleak inspect package.json?'],
  ])('says what %j may have meant', async (args, advice) => {
    const { code, err } = await cli(...args);
    expect(code).toBe(2);
    expect(err).toContain(advice);
  });

  it('suggests nothing that is far from what was given', async () => {
    for (const args of [
      ['audit', 'a', '--colour', 'red'],
      ['levitate', 'a'],
      ['audit', 'a', '--attack', 'brute-force'],
    ]) {
      const { err } = await cli(...args);
      expect(err).not.toContain('Did you mean');
      expect(err).toContain('gradleak --help');
    }
  });

  it.each([
    [['--normalisation', 'cifar10'], { mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.2435, 0.2616] }],
    [['--mean', '0.5', '--std', '0.25'], { mean: [0.5], std: [0.25] }],
    [['--normalisation', 'custom', '--mean', '0.1,0.2', '--std', '1,2'], { mean: [0.1, 0.2], std: [1, 2] }],
    [['--normalisation', 'none'], null],
    [['--normalisation', 'capture'], undefined],
    [[], undefined],
  ])('takes %j for how inputs were normalised', (args, normalisation) => {
    const { values } = parse(args, RECONSTRUCTION_OPTIONS);
    const request = reconstructionRequest((name) => values[name] as string | undefined);
    expect(request.normalisation).toEqual(normalisation);
  });

  it.each([
    [['--mean', '0.5']],
    [['--std', '0.5']],
    [['--mean', '0.5,0.5', '--std', '0.25']],
    [['--mean', '0.5', '--std', '0']],
    [['--mean', 'grey', '--std', '1']],
    [['--normalisation', 'custom']],
    [['--normalisation', 'imagenet', '--mean', '0.5', '--std', '1']],
  ])('refuses %j, which normalises nothing', async (args) => {
    const { code, err } = await cli('audit', join(ROOT, 'media', 'example'), ...args);
    expect(code).toBe(2);
    expect(err).toContain('command line');
  });

  it('draws pictures with the mean and the deviation that were given, over what the capture says', async () => {
    const dumped = join(folder, 'normalised');
    cpSync(dump('k10_hard_bias_default'), dumped, { recursive: true });
    writeFileSync(join(dumped, 'capture.json'), '{"normalisation": {"mean": [0.4], "std": [0.3]}}');
    const drawn = async (...args: string[]): Promise<unknown> => {
      const { out } = await cli('audit', dumped, '--format', 'json', ...args);
      return (JSON.parse(out) as Report).samples[0]?.reconstruction?.normalisation;
    };
    expect(await drawn()).toEqual({ mean: [0.4], std: [0.3] });
    expect(await drawn('--mean', '0.5', '--std', '0.25')).toEqual({ mean: [0.5], std: [0.25] });
    expect(await drawn('--normalisation', 'none')).toBeUndefined();
  });

  it('passes settings of gradient matching on, and prints what came of it', async () => {
    const folder = join(NETWORKS, 'pooled');
    const { code, out } = await cli(
      'audit',
      folder,
      '--iterations',
      '30',
      '--restarts',
      '2',
      '--terms',
      'g',
      '--engine',
      'tfjs-wasm',
      '--truth',
      join(folder, 'truth.json'),
    );
    expect(code).toBe(0);
    expect(out).toMatch(/soft-label: cosine, terms g, labels recovered, adam, 60 iterations/);
    expect(out).toMatch(/tfjs-wasm: taken, as asked/);
    expect(out).toMatch(/truth {5}PSNR/);
    expect(out).toMatch(/small network with one pool \(recipe\)/);
  });

  it('doctor tells what works and what the others need', async () => {
    const { code, out } = await cli('doctor');
    expect(code).toBe(0);
    expect(out).toMatch(/works {2}onnxruntime-cpu/);
    expect(out).toMatch(/works {2}tfjs-wasm/);
    expect(out).toMatch(/tfjs-node-gpu +not installed; "GradLeak: Install CUDA Engine" does it/);
  });

  it('exits 130 when cancelled', async () => {
    const { code, err } = await cliUntil(() => true, 'audit', dump('k10_hard_bias_default'));
    expect({ code, err }).toEqual({ code: 130, err: 'Stopped.\n' });
  });

  it.each(['kxd', 'dxk'] as const)('--layout %s decides over the guess', async (layout) => {
    const { code, out } = await cli('audit', dump('in_keras'), '--layout', layout, '--format', 'json');
    const { head } = JSON.parse(out) as Report;
    expect(head?.layout).toBe(layout);
    // Read the wrong way round, features become classes whose sums rule out softmax: nothing can be judged.
    expect(code).toBe(layout === 'dxk' ? 0 : 4);
  });
});

describe('gradleak inspect', () => {
  it('lists tensors and says what loading would run', async () => {
    const { code, out } = await cli('inspect', join(ROOT, 'test', 'fixtures', 'hostile', 'os_system.pt'));
    expect(code).toBe(0);
    expect(out).toContain('fc.weight  [3, 4]  float32  48 bytes');
    expect(out).toContain('this file would run posix.system when loaded with torch.load');
  });

  it('as JSON', async () => {
    const { out } = await cli('inspect', join(ROOT, 'media', 'example', 'checkpoint.pt'), '--format', 'json');
    expect(JSON.parse(out)).toMatchObject({ format: 'torch-zip', foreignGlobals: [] });
  });
});

describe('gradleak inspect of a transformer', () => {
  const checkpoint = join(ROOT, 'test', 'fixtures', 'transformers', 'gpt2', 'checkpoint.safetensors');

  it('names the model, as the editor does', async () => {
    const { out } = await cli('inspect', checkpoint);
    expect(out).toMatch(/\n {2}GPT-2 by config\.json: \d+ blocks?, \d+ wide/);
    const json = await cli('inspect', checkpoint, '--format', 'json');
    expect(JSON.parse(json.out)).toMatchObject({ model: expect.stringContaining('GPT-2 by config.json') as string });
  });
});

describe('the built command', () => {
  it('runs from dist, with a self-contained page', () => {
    const out = join(folder, 'page');
    const result = spawnSync(
      process.execPath,
      [join(ROOT, 'dist', 'cli.js'), 'audit', join(ROOT, 'media', 'example'), '--out', out, '--html'],
      { encoding: 'utf8' },
    );
    expect(result.stderr).toBe('');
    expect(result.status).toBe(0);
    const page = readFileSync(join(out, 'report.html'), 'utf8');
    expect(page).toContain('id="gradleak-report"');
    expect(page).not.toMatch(/(src|href)="(https?:|\/\/)/);
  });

  it('--version and --help', async () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    expect((await cli('--version')).out).toBe(`${version}\n`);
    expect((await cli('--help')).out).toContain('gradleak audit FOLDER');
    expect((await cli('audit', '--help')).code).toBe(0);
  });
});

describe('gradleak defend', () => {
  it('prints what is left level by level, and settings for a target', async () => {
    const { code, out, err } = await cli(
      'defend',
      dump('k10_hard_bias_default'),
      '--target',
      'label=0.2',
      '--defences',
      'gaussian-noise,clipping',
    );
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toContain('Label of the sample');
    expect(out).toContain('noise_multiplier=');
    expect(out).toContain('No level meets it.');
    expect(out).toContain('Privacy: ');
    expect(out).toContain('other methods may see more');
  });

  it('writes a report that its schema describes', async () => {
    const out = join(folder, 'defended');
    const { code } = await cli('defend', dump('k10_hard_bias_default'), '--out', out, '--defences', 'sign', '--json');
    expect(code).toBe(0);
    const schema = JSON.parse(readFileSync(join(ROOT, 'media', 'defence.schema.json'), 'utf8')) as object;
    const validate = new Ajv({ strict: false }).compile(schema);
    expect(validate(JSON.parse(readFileSync(join(out, 'defence.json'), 'utf8'))), JSON.stringify(validate.errors)).toBe(
      true,
    );
  });

  it('puts the sweep into the page of the audit, and into that of no other gradient', async () => {
    const out = join(folder, 'with-page');
    const given = ['defend', dump('k10_hard_bias_default'), '--out', out, '--defences', 'sign', '--html'];
    const before = await cli(...given);
    expect([before.code, before.err]).toEqual([2, expect.stringContaining('in --out no report of an audit')]);
    await cli('audit', dump('k10_hard_bias_default'), '--attack', 'none', '--out', out);
    expect(spawnSync(process.execPath, [join(ROOT, 'dist', 'cli.js'), ...given]).status).toBe(0);
    const page = readFileSync(join(out, 'report.html'), 'utf8');
    const [, data = ''] = /<script type="application\/json" id="gradleak-report">(.*)<\/script>/.exec(page) ?? [];
    const content = JSON.parse(data) as { report: Report; defence: { report: { curves: { defence: string }[] } } };
    expect(content.report.verdict.outcome).toBe('leaks');
    expect(content.defence.report.curves).toHaveLength(1);
    const other = await cli('defend', dump('k10_mixup_bias_default'), ...given.slice(2));
    expect([other.code, other.err]).toEqual([2, expect.stringContaining('the report of another gradient')]);
  });

  it('refuses targets and defences that there are not', async () => {
    expect(await cli('defend', dump('k10_hard_bias_default'), '--target', 'lable=1')).toMatchObject({ code: 2 });
    expect(await cli('defend', dump('k10_hard_bias_default'), '--defences', 'hope')).toMatchObject({ code: 2 });
    expect(await cli('defend', dump('k10_hard_bias_default'), '--quick', '--thorough')).toMatchObject({ code: 2 });
  });
});
