import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { analyseScript } from '../../src/scripts/analyse.js';
import { type PythonDocument, parsePython, updatePython } from '../../src/scripts/python-document.js';

/** What typing in a long training script costs. */

export interface TypingCost {
  readonly lines: number;
  /** Parse and analysis from nothing, median, ms. */
  readonly fresh: number;
  /** The same after one keystroke, median and worst, ms. */
  readonly keystroke: number;
  readonly worst: number;
}

const KEYSTROKES = 60;
/** What is typed: within a word, and what leaves everything behind it open until it is closed. */
const TYPED = ['x', '(', '"', '\n', '"""', ':'];

/** @param lines length of the script, made of the test's scripts one after the other */
export function typingCost(lines: number): TypingCost {
  const folder = join('test', 'fixtures', 'scripts');
  const parts = readdirSync(folder)
    .filter((name) => name.endsWith('.py') && name !== 'broken.py')
    .map((name) => readFileSync(join(folder, name), 'utf8'));
  let text = '';
  for (let at = 0; text.split('\n').length < lines; at++) {
    text += parts[at % parts.length] ?? '';
  }
  const timed = (work: () => void): number => {
    const start = performance.now();
    work();
    return performance.now() - start;
  };
  const fresh = Array.from({ length: 9 }, () => timed(() => void analyseScript(parsePython(text))));
  let document: PythonDocument = parsePython(text);
  while (!document.isComplete) {
    document = updatePython(document, text);
  }
  analyseScript(document);
  const keystrokes = Array.from({ length: KEYSTROKES }, (_, at) => {
    const from = Math.floor((text.length * (at + 0.5)) / KEYSTROKES);
    // One character more each time that is a letter; the others are taken back.
    const typed = TYPED[at % TYPED.length] ?? 'x';
    const next = `${text.slice(0, from)}${typed}${text.slice(from)}`;
    const ms = timed(() => {
      analyseScript(updatePython(document, next));
    });
    if (typed === 'x') {
      text = next;
      document = updatePython(document, next);
    }
    return ms;
  });
  const sorted = (values: number[]): number[] => [...values].sort((one, other) => one - other);
  return {
    lines: text.split('\n').length,
    fresh: sorted(fresh)[4] ?? NaN,
    keystroke: sorted(keystrokes)[KEYSTROKES / 2] ?? NaN,
    worst: Math.max(...keystrokes),
  };
}
