import type { Defence, UpdateParts } from './defence.js';

const PARTS: readonly { readonly part: keyof UpdateParts; readonly name: string }[] = [
  { part: 'head', name: 'without the head' },
  { part: 'embeddings', name: 'without the embeddings' },
  { part: 'first', name: 'without the first layer' },
];

/** Layers that are frozen on the client, or whose update stays there. */
export const withholding: Defence = {
  id: 'withholding',
  title: 'Withholding layers',
  explanation: 'The update of a layer is not sent, as where it is frozen; the levels are which one.',
  unit: '',
  scale: 'names',
  isMonotone: false,
  isRandom: false,
  levels: ({ parts }) =>
    PARTS.flatMap(({ part, name }, value) =>
      parts[part].length > 0 ? [{ value, name, also: parts[part].join(', ') }] : [],
    ),
  withheld: ({ value }, { parts }) => parts[PARTS[value]!.part],
  apply: ({ data }) => data,
};
