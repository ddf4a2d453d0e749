import { readFileSync, readdirSync } from 'node:fs';
import { join, sep } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RECONSTRUCTION_OPTIONS } from '../../../src/cli/reconstruction-options.js';
import { UnusableInputError, nextSteps } from '../../../src/protocol/errors.js';
import { NEXT_STEPS } from '../../../src/protocol/next-steps.js';
import { stepsForEditor, stepsForTerminal } from '../../../src/words/next-steps.js';

const SOURCE = join(import.meta.dirname, '..', '..', '..', 'src');

const parts = { file: 'a.pt', found: 'this', expected: 'that', advice: 'Do so.' };

describe('next steps', () => {
  it('are buttons of one label each, with no option in it', () => {
    const labels = stepsForEditor(NEXT_STEPS).map(({ label }) => label);
    expect(new Set(labels).size).toBe(labels.length);
    expect(labels.join('\n')).not.toContain('--');
    expect(labels).toContain('Choose another checkpoint');
  });

  it('are options in columns, and only those that a terminal has', () => {
    expect(stepsForTerminal(['choose-head', 'retry', 'choose-input-shape'])).toEqual([
      '  --head NAME          the layer that classifies',
      '  --input-shape CxHxW  the shape of one input',
    ]);
    expect(stepsForTerminal(['retry', 'open-log', 'choose-file'])).toEqual([]);
  });

  it('each are offered somewhere', () => {
    for (const step of NEXT_STEPS) {
      expect([...stepsForEditor([step]), ...stepsForTerminal([step])], step).not.toEqual([]);
    }
  });

  it("follow an error's code, unless the error says its own; anything else may be tried again", () => {
    expect(nextSteps(new UnusableInputError({ code: 'shape-mismatch', ...parts }))).toEqual(['choose-checkpoint']);
    const own = new UnusableInputError({ code: 'shape-mismatch', ...parts, next: ['inspect-file'] });
    expect(nextSteps(own)).toEqual(['inspect-file']);
    expect(nextSteps(new Error('a defect'))).toEqual(['retry']);
  });
});

describe('messages', () => {
  it("name no option of the terminal's outside the terminal, as the editor shows them too", () => {
    const options = [
      ...Object.keys(RECONSTRUCTION_OPTIONS),
      ...['checkpoint', 'gradients', 'head', 'layout', 'method', 'batch-size', 'truth', 'out', 'force', 'trace'],
    ];
    const named = new RegExp(
      `^(?! *(//|/?\\*)).*(["'\`( ]--(${options.join('|')})\\b|gradleak (audit|inspect|doctor)\\b)`,
      'm',
    );
    expect("advice: 'Name it with --head.'").toMatch(named);
    expect(' * as `--labels true` does').not.toMatch(named);
    const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' }).filter(
      (file) => file.endsWith('.ts') && !file.startsWith(`cli${sep}`) && file !== join('words', 'next-steps.ts'),
    );
    expect(files.length).toBeGreaterThan(100);
    for (const file of files) {
      expect(named.exec(readFileSync(join(SOURCE, file), 'utf8'))?.[0], file).toBeUndefined();
    }
  });
});
