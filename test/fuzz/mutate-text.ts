import { type Mutator, NAMES, longText, rearranged } from './mutate-bytes.js';
import type { Random } from './random.js';

/** Texts of lines, and Python in particular: lines and words gone, repeated, moved, and what no grammar expects. */

export const mutateText: Mutator = (bytes, random, donor) => {
  const text = bytes.toString('utf8');
  return Buffer.from(
    random.chance(0.5) ? withOtherLines(text, random, donor.toString('utf8')) : withOtherWords(text, random),
  );
};

function withOtherLines(text: string, random: Random, donor: string): string {
  return rearranged(text.split('\n'), random, donor.split('\n')).join('\n');
}

function withOtherWords(text: string, random: Random): string {
  // Words, runs of blanks and single signs.
  const words = text.match(/\w+|\s+|./gsu) ?? [];
  if (words.length > 0 && random.chance(0.5)) {
    return rearranged(words, random).join('');
  }
  const at = random.below(words.length + 1);
  return words.toSpliced(at, random.below(3), strangeWord(random)).join('');
}

const WORDS = [
  ...[
    'def f(',
    'class C(',
    'lambda x: ',
    'async ',
    'with ',
    'for x in ',
    'if ',
    'else:',
    'return ',
    'yield ',
    'import ',
  ],
  ...[
    '"""',
    "'''",
    '"',
    '#',
    '\\\n',
    '\t',
    '\r',
    '\n\n',
    '    ',
    '(',
    ')',
    '[',
    ']',
    '{',
    '}',
    ':',
    '.',
    ',',
    '@',
    '**',
  ],
  ...[
    '.backward()',
    'optimizer.step()',
    'model',
    'loss',
    'torch.nn.Linear(1, 1)',
    'f"{x',
    '\u00a0',
    '\u2028',
    '\ufeff',
  ],
];

function strangeWord(random: Random): string {
  if (random.chance(0.1)) {
    return random
      .pick(['(', '[', '{', '-', 'not ', 'x.', 'lambda: ', 'f(', 'x if ', 'if x:\n ', '**'])
      .repeat(10 ** (1 + random.below(4)));
  }
  return random.chance(0.1) ? longText(random) : random.pick([...WORDS, ...NAMES]);
}
