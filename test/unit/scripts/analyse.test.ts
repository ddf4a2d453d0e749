import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ScriptAnalysis, analyseScript } from '../../../src/scripts/analyse.js';
import type { Hint } from '../../../src/scripts/hints.js';
import { cellAt, joinCells } from '../../../src/scripts/notebook.js';
import { blocksOf } from '../../../src/scripts/python-blocks.js';
import { type PythonDocument, parsePython, updatePython } from '../../../src/scripts/python-document.js';

const SCRIPTS = join(import.meta.dirname, '..', '..', 'fixtures', 'scripts');
const scripts = readdirSync(SCRIPTS).filter((name) => name.endsWith('.py'));
/** On any machine. */
const ENOUGH_MS = 60_000;
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
function treeOf({ blocks }: PythonDocument): string {
  const nodes: string[] = [];
  let start = 0;
  for (const { tree, text } of blocks) {
    tree.iterate({
      enter({ name, from, to }) {
        nodes.push(`${name} ${start + from} ${start + to}`);
      },
    });
    start += text.length;
  }
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

/** `3: GL101`, so many lines further down. */
function moved(own: string, lines: number): string {
  return own.replace(/^\d+/, (line) => String(Number(line) + lines));
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
            document = updatePython(document, text, ENOUGH_MS);
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
    expect(part.isComplete).toBe(false);
    expect(analyseScript(part).points).toEqual([]);
    for (const next of [text, `${text}\n`]) {
      const whole = updatePython(part, next, ENOUGH_MS);
      expect(whole.isComplete).toBe(true);
      expect(treeOf(whole)).toBe(treeOf(parsePython(next)));
      expect(foundIn(next, analyseScript(whole))).toEqual(expectedIn(next));
    }
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
    expect(document.blocks.some(({ tree }) => tree.length === 0)).toBe(true);
    expect(analyseScript(document)).toEqual({ points: [], hints: [] });
    const text = read('plain_mnist.py');
    const mended = updatePython(document, text, ENOUGH_MS);
    expect(treeOf(mended)).toBe(treeOf(parsePython(text)));
  });

  it('finds the same after every keystroke of a new function', () => {
    const before = read('plain_mnist.py');
    const place = before.indexOf('def main');
    const typed = 'def more(model, x, y):\n    loss = F.cross_entropy(model(x), y)\n    loss.backward()\n\n\n';
    let document = parsePython(before);
    for (let length = 1; length <= typed.length; length++) {
      const text = before.slice(0, place) + typed.slice(0, length) + before.slice(place);
      document = updatePython(document, text, ENOUGH_MS);
      const afresh = parsePython(text);
      if (!treeOf(afresh).includes('⚠')) {
        expect(treeOf(document)).toBe(treeOf(afresh));
      }
    }
    expect(treeOf(document)).not.toContain('⚠');
    expect(analyseScript(document).points).toHaveLength(2);
  });
});

describe('blocks of a script', () => {
  const [start, end] = [read('plain_mnist.py'), read('flower_numpy.py')];

  it.each(['def f(\n', 'x = [\n', 'def f():\n        pass\n    x\n', 'x = "unclosed\n'])(
    'what %j leaves open ends with its block',
    (open) => {
      const text = `${start}${open}def after(): pass\n${end}`;
      const lines = text.split('\n').length - end.split('\n').length;
      const expected = [...expectedIn(start), ...expectedIn(end).map((own) => moved(own, lines))];
      expect(foundIn(text, analyseScript(parsePython(text)))).toEqual(expected);
    },
  );

  it.each([
    ['a text in quotation marks', '"""\ndef f():\n    pass\n"""\ndef g(): pass\n', 2],
    ['one with escapes', '"""\\"""\ndef f():\n"""\ndef g(): pass\n', 2],
    ['a comment with a quotation mark', "# don't\ndef g(): pass\n", 2],
    ['a quotation mark without an end', "x = 'a\ndef g(): pass\n", 2],
    ['decorators', 'x\n@one\n@two\nasync def f(): pass\nclass G: pass\n', 3],
    ['nothing', '', 1],
  ])('%s', (_, text, count) => {
    const blocks = blocksOf(text);
    expect(blocks.join('')).toBe(text);
    expect(blocks).toHaveLength(count);
  });

  it('know of one another: imports, numbers, layers that are not trained, clipping with noise', () => {
    const text = [
      'def loader():\n    return tud.DataLoader(data, batch_size=SIZE)\n\n\n',
      'def train(model):\n    loss = model(x)\n    loss.backward()\n    torch.save(model.weight.grad, "g.pt")\n\n\n',
      'class Net:\n    def __init__(self):\n        self.embed = torch.nn.Embedding(10, 4)\n\n\n',
    ].join('');
    const codes = (own: string): string[] => analyseScript(parsePython(own)).hints.map(({ code }) => code);
    const head = 'import torch\nimport torch.utils.data as tud\n';
    const noise = 'def clip(p):\n    clip_grad_norm_(p, 1)\n\n\ndef blur(p):\n    torch.randn_like(p)\n';
    expect(codes(`${head}SIZE = 1\n${text}`)).toEqual(['GL101', 'GL106', 'GL105']);
    expect(codes(`${head}${text}\nclass A:\n  pass\nSIZE = 1\n`)).toEqual(['GL101', 'GL106', 'GL105']);
    expect(codes(`${head}SIZE = 1\n${text}SIZE = 2\n`)).toEqual(['GL106', 'GL105']);
    expect(codes(`${head}${text}self.embed.requires_grad_(False)\n`)).toEqual(['GL106']);
    expect(codes(`${head}${text}${noise}`)).toEqual(['GL105']);
  });

  it('find after an edit of an import what parsing afresh finds', () => {
    const all = `${start}${end}`;
    const before = parsePython(all);
    analyseScript(before);
    const text = all.replace('import torch\n', 'import torc\n');
    expect(text).not.toBe(all);
    expect(analyseScript(updatePython(before, text, ENOUGH_MS))).toEqual(analyseScript(parsePython(text)));
  });
});

describe('the capture that is inserted', () => {
  const insertion = (name: string, point = 0): { text: string; unknown: readonly string[]; result: string } => {
    const text = read(name);
    const own = analyseScript(parsePython(text)).points[point]?.insertion;
    if (!own) {
      throw new Error(`no insertion in ${name}`);
    }
    // From the last to the first, so that offsets hold.
    const result = [own, own.start, own.import].reduce(
      (whole, edit) => (edit ? whole.slice(0, edit.at) + edit.text + whole.slice(edit.at) : whole),
      text,
    );
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

  const COPY = 'gradleak_before = gradleak_capture.weights_of';
  const SENT = 'gradleak_capture.capture_update(gradleak_before,';

  it.each([
    [
      'flower_numpy.py',
      1,
      `        ${COPY}(parameters)\n        self.set_parameters(parameters)\n`,
      `        ${SENT} self.get_parameters(config={}), "captures/FlowerClient-fit", model=self.net, once=True)\n        return self.get`,
    ],
    [
      'flower_messages.py',
      0,
      `    """Trains on this client's data."""\n    ${COPY}(msg.content["arrays"].to_torch_state_dict())\n    model = Net()\n`,
      `    ${SENT} model.state_dict(), "captures/train", once=True)\n    return Message(`,
    ],
    [
      'federated_local.py',
      0,
      `    def train(self, net):  # lens: sentWeights first\n        ${COPY}(net)\n        net.train()\n`,
      `        ${SENT} net.state_dict(), "captures/LocalUpdate-train", once=True)\n        return net.`,
    ],
    [
      'federated_local.py',
      2,
      `    model.load_state_dict(weights)\n    ${COPY}(model)\n    for`,
      `    ${SENT} copy.deepcopy(model.state_dict()), "captures/client_round", once=True)\n    return copy.`,
    ],
  ])('%s, place %i: what is sent, with the weights before copied before the training', (name, point, copy, call) => {
    const { result, unknown } = insertion(name, point);
    expect(unknown).toEqual([]);
    expect(result).toContain(copy);
    expect(result).toContain(call);
    expect(result.match(/^import gradleak_capture$/gm)).toHaveLength(1);
    expect(treeOf(parsePython(result))).not.toContain('⚠');
    const again = analyseScript(parsePython(result)).points[point];
    expect(again).toMatchObject({ isCapturing: true, insertion: undefined });
  });

  it.each([
    ['a value that is computed anew', 'return self.train(), 1, {}', ['after']],
    [
      'one over several lines',
      'return [\n            p.cpu() for p in self.net.parameters()\n        ], 1, {}',
      ['after'],
    ],
    ['nothing', 'return', ['after']],
    ['a name', 'return weights, 1, {}', []],
  ])('leaves to the user what is sent where it is %s', (_, end, unknown) => {
    const text = `from flwr.client import NumPyClient\n\n\nclass A(NumPyClient):\n    def fit(self, given, config):\n        weights = f(given)\n        ${end}\n`;
    expect(analyseScript(parsePython(text)).points[0]?.insertion?.unknown).toEqual(unknown);
  });

  it.each([
    ['a model of a branch', '    if new:\n        model = make()\n'],
    ['a model from nowhere', ''],
  ])('leaves to the user what was before: %s', (_, lines) => {
    const text = `import torch\n\n\ndef work(new, x):\n${lines}    model(x).backward()\n    return model.state_dict()\n`;
    const own = analyseScript(parsePython(text)).points[0]?.insertion;
    expect(own).toMatchObject({ start: undefined, unknown: ['before'] });
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
