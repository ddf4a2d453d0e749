import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ScriptAnalysis, analyseScript } from '../../../src/scripts/analyse.js';
import type { Hint } from '../../../src/scripts/hints.js';
import { cellAt, joinCells } from '../../../src/scripts/notebook.js';
import { type PythonDocument, parsePython, updatePython } from '../../../src/scripts/python-document.js';

const SCRIPTS = join(import.meta.dirname, '..', '..', 'fixtures', 'scripts');
const scripts = readdirSync(SCRIPTS).filter((name) => name.endsWith('.py'));
const read = (name: string): string => readFileSync(join(SCRIPTS, name), 'utf8');

/** Runs it where half of the calls that fit into the stack are under way already. */
function withHalfTheStack<T>(run: () => T): T {
  const depthOf = (depth: number): number => {
    try {
      return depthOf(depth + 1);
    } catch {
      return depth;
    }
  };
  const below = (left: number): T => (left === 0 ? run() : below(left - 1));
  return below(depthOf(0) >> 1);
}

/** Every node with its place. */
function treeOf({ tree }: PythonDocument): string {
  const nodes: string[] = [];
  tree.iterate({
    enter({ name, from, to }) {
      nodes.push(`${name} ${from} ${to}`);
    },
  });
  return nodes.join('\n');
}

/** `line: backward first`, `line: GL101`, from the comments that say what belongs on a line. */
function expectedIn(text: string): string[] {
  return text.split('\n').flatMap((line, at) => {
    const lens = /# lens: (.*)$/.exec(line)?.[1];
    const hints = /# hint: (.*)$/.exec(line)?.[1]?.split(' ') ?? [];
    return [...(lens === undefined ? [] : [lens]), ...hints].map((what) => `${at + 1}: ${what}`);
  });
}

function foundIn(text: string, { points, hints }: ScriptAnalysis): string[] {
  const line = (offset: number): number => text.slice(0, offset).split('\n').length;
  return [
    ...points.map(({ at, kind, isFirst }) => ({ at, what: `${kind}${isFirst ? ' first' : ''}` })),
    ...hints.map(({ from, code }) => ({ at: from, what: code })),
  ]
    .map(({ at, what }) => ({ line: line(at), what }))
    .sort((one, other) => one.line - other.line)
    .map((own) => `${own.line}: ${own.what}`);
}

describe('lenses and hints, exactly those that the scripts name', () => {
  it('there are enough scripts', () => {
    expect(scripts.length).toBeGreaterThanOrEqual(25);
  });

  it.each(scripts.filter((name) => name !== 'broken.py'))('%s', (name) => {
    const text = read(name);
    expect(foundIn(text, analyseScript(parsePython(text)))).toEqual(expectedIn(text));
  });

  it('a notebook: cells know of the cells above', () => {
    const { cells } = JSON.parse(read('notebook.ipynb')) as { cells: { cell_type: string; source: string[] }[] };
    const code = cells.filter(({ cell_type }) => cell_type === 'code').map(({ source }) => source.join(''));
    const joined = joinCells(code);
    const analysis = analyseScript(parsePython(joined.text));
    expect(foundIn(joined.text, analysis)).toEqual(expectedIn(joined.text));
    const places = analysis.points.map(({ at }) => cellAt(joined, at));
    expect(places.map(({ cell }) => cell)).toEqual([2, 3]);
    expect(places.map(({ cell, offset }) => code[cell]!.slice(offset, offset + 4))).toEqual(['loss', 'othe']);
  });

  it('a file being typed does not throw', () => {
    const text = read('broken.py');
    expect(() => analyseScript(parsePython(text))).not.toThrow();
    const whole = read('flower_numpy.py');
    for (let length = 0; length < whole.length; length += 37) {
      analyseScript(parsePython(whole.slice(0, length)));
    }
  });
});

describe('parsing again after a change', () => {
  it('finds what parsing afresh finds', () => {
    const all = scripts
      .filter((name) => name !== 'broken.py')
      .map(read)
      .join('\n');
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(
            fc.nat(all.length - 50),
            fc.nat(40),
            fc.constantFrom('', 'x', '\n', '    ', 'loss.backward()\n', '"""', '(', 'def f():\n'),
          ),
          {
            minLength: 1,
            maxLength: 4,
          },
        ),
        (edits) => {
          let document = parsePython(all);
          let text = all;
          for (const [from, length, inserted] of edits) {
            const to = Math.min(from + length, text.length);
            text = text.slice(0, from) + inserted + text.slice(to);
            document = updatePython(document, text, [{ from, to, inserted: inserted.length }]);
          }
          const afresh = treeOf(parsePython(text));
          // Where the text is not Python, how the parser recovers depends on where it comes from.
          if (!afresh.includes('⚠')) {
            expect(treeOf(document)).toBe(afresh);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it('goes on where time ran out', () => {
    const text = read('plain_mnist.py');
    const part = parsePython(text, 0);
    expect(part.tree.length).toBeLessThan(text.length);
    expect(analyseScript(part).points).toEqual([]);
    expect(treeOf(updatePython(part, `${text}\n`, [{ from: text.length, to: text.length, inserted: 1 }]))).toBe(
      treeOf(parsePython(`${text}\n`)),
    );
  });

  it('gives nothing where a text is nested deeper than the stack is, and goes on once it is not', () => {
    const deep = join(
      import.meta.dirname,
      '..',
      '..',
      'fuzz',
      'regressions',
      'script',
      'tree-not-walkable',
      'dp_by_hand.py',
    );
    const nested = readFileSync(deep, 'utf8');
    const document = withHalfTheStack(() => parsePython(nested));
    expect(document.tree.length).toBe(0);
    expect(analyseScript(document)).toEqual({ points: [], hints: [] });
    const text = read('plain_mnist.py');
    const mended = updatePython(document, text, [{ from: 0, to: nested.length, inserted: text.length }]);
    expect(treeOf(mended)).toBe(treeOf(parsePython(text)));
  });

  it('finds the same after every keystroke of a new function', () => {
    const before = read('plain_mnist.py');
    const place = before.indexOf('def main');
    const typed = 'def more(model, x, y):\n    loss = F.cross_entropy(model(x), y)\n    loss.backward()\n\n\n';
    let document = parsePython(before);
    for (let length = 1; length <= typed.length; length++) {
      const text = before.slice(0, place) + typed.slice(0, length) + before.slice(place);
      const from = place + length - 1;
      document = updatePython(document, text, [{ from, to: from, inserted: 1 }]);
      const afresh = parsePython(text);
      if (!treeOf(afresh).includes('⚠')) {
        expect(treeOf(document)).toBe(treeOf(afresh));
      }
    }
    expect(treeOf(document)).not.toContain('⚠');
    expect(analyseScript(document).points).toHaveLength(2);
  });
});

describe('the capture that is inserted', () => {
  const insertion = (name: string, point = 0): { text: string; unknown: readonly string[]; result: string } => {
    const text = read(name);
    const own = analyseScript(parsePython(text)).points[point]?.insertion;
    if (!own) {
      throw new Error(`no insertion in ${name}`);
    }
    let result = text.slice(0, own.at) + own.text + text.slice(own.at);
    if (own.import) {
      result = result.slice(0, own.import.at) + own.import.text + result.slice(own.import.at);
    }
    return { text: own.text, unknown: own.unknown, result };
  };

  it.each([
    [
      'plain_mnist.py',
      0,
      '        gradleak_capture.capture(model, data, target, F.cross_entropy, "captures/train", once=True)\n',
    ],
    ['batch_one.py', 0, '    gradleak_capture.capture(model, x, y, criterion, "captures/step", once=True)\n'],
    [
      'label_smoothing.py',
      1,
      '    gradleak_capture.capture(model, images, labels, lambda outputs, labels: torch.nn.functional.cross_entropy(outputs, labels, label_smoothing=0.2), "captures/step", once=True)\n',
    ],
    [
      'lightning_classifier.py',
      0,
      '        gradleak_capture.capture(self, x, y, F.cross_entropy, "captures/LitClassifier-training_step", once=True)\n',
    ],
    [
      'accelerate_vision.py',
      0,
      '            gradleak_capture.capture(self.accelerator.unwrap_model(self.model), images, labels, F.cross_entropy, "captures/Trainer-train_epoch", once=True)\n',
    ],
    [
      'flower_numpy.py',
      1,
      '        gradleak_capture.capture(self.net, *next(iter(self.trainloader)), torch.nn.functional.cross_entropy, "captures/FlowerClient-fit", once=True)\n',
    ],
    [
      'tensorflow_loop.py',
      0,
      '    gradleak_capture.capture_tape(model, gradients, "captures/train_step", once=True)\n',
    ],
    [
      'opacus_cifar.py',
      0,
      '        gradleak_capture.capture(model, images, target, criterion, "captures/main", once=True)\n',
    ],
  ])('%s', (name, point, text) => {
    expect(insertion(name, point)).toMatchObject({ text, unknown: [] });
  });

  it('repeats no hint', () => {
    const { result } = insertion('label_smoothing.py', 1);
    const codes = analyseScript(parsePython(result)).hints.map(({ code }) => code);
    expect(codes).toEqual(analyseScript(parsePython(read('label_smoothing.py'))).hints.map(({ code }) => code));
  });

  it('leaves to the user what cannot be told', () => {
    expect(insertion('accelerate_glue.py').unknown).toEqual(['model', 'inputs', 'labels', 'loss']);
    expect(insertion('mixup_own.py')).toMatchObject({
      text: '        gradleak_capture.capture(net, inputs, a, lambda outputs, labels: mixup_criterion(criterion, outputs, labels, b, lam), "captures/train", once=True)\n',
      unknown: [],
    });
  });

  it('is a statement where statements are, and never within a line', () => {
    const text = read('nested_loops.py');
    const { points } = analyseScript(parsePython(text));
    expect(points.map((point) => point.insertion !== undefined)).toEqual([true, false, true, true]);
  });

  it('leaves a script that parses, with its import once and after the others', () => {
    const { result } = insertion('plain_mnist.py');
    expect(result.indexOf('import gradleak_capture')).toBeGreaterThan(result.indexOf('from torchvision'));
    const again = analyseScript(parsePython(result));
    expect(again.points[0]?.insertion, 'a second capture in the same place').toBeUndefined();
    expect(again.hints).toEqual(analyseScript(parsePython(read('plain_mnist.py'))).hints);
    expect(treeOf(parsePython(result))).not.toContain('⚠');
  });
});

describe('quick fixes', () => {
  it('make torch.load safe, and then nothing is left to say', () => {
    let text = read('dlg_attack.py');
    for (;;) {
      const fix = analyseScript(parsePython(text)).hints.find((hint) => hint.fix)?.fix;
      if (!fix) {
        break;
      }
      text = text.slice(0, fix.at) + fix.text + text.slice(fix.at + fix.replaces);
    }
    expect(text).toContain('torch.load("victim.pth", weights_only=True)  # hint');
    expect(text.match(/weights_only=True/g)).toHaveLength(3);
  });

  it('set a noise multiplier only where a number is written, not where a name stands for it', () => {
    const script = (multiplier: string): string =>
      `import torch\nfrom opacus import PrivacyEngine\nsigma = 0.01\n` +
      `model, optimizer, loader = PrivacyEngine().make_private(module=m, noise_multiplier=${multiplier})\nloss.backward()\n`;
    const hintOf = (text: string): Hint | undefined =>
      analyseScript(parsePython(text)).hints.find(({ code }) => code === 'GL107');
    const text = script('0.01');
    const fix = hintOf(text)?.fix;
    expect(fix).toBeDefined();
    const fixed = text.slice(0, fix!.at) + fix!.text + text.slice(fix!.at + fix!.replaces);
    expect(fixed).toBe(script('1.0'));
    expect(hintOf(fixed)).toBeUndefined();
    expect(hintOf(script('sigma'))).toMatchObject({ code: 'GL107' });
    expect(hintOf(script('sigma'))?.fix).toBeUndefined();
  });
});

it('a place knows that its function captures already', () => {
  const script = read('plain_mnist.py');
  const [point] = analyseScript(parsePython(script)).points;
  const { at, text } = point!.insertion!;
  const after = analyseScript(parsePython(`import gradleak_capture\n${script.slice(0, at)}${text}${script.slice(at)}`));
  expect(point!.isCapturing).toBe(false);
  expect(after.points[0]).toMatchObject({ kind: point!.kind, isCapturing: true, insertion: undefined });
});
