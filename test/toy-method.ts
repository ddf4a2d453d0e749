import type { Detail } from '../src/protocol/detail.js';
import { HEAD } from '../src/facts/head-facts.js';
import { type Method, READABLE } from '../src/methods/method.js';

/** The smallest whole method: what `docs/add-a-method.md` builds. It "finds" the head's largest gradient. */
export const toyMethod: Method = {
  id: 'toy',
  title: 'The largest number of the head',
  assumes: 'a number says something.',
  cites: null,
  cost: 'ms',
  kinds: READABLE,
  async applies(facts) {
    return (await facts.get(HEAD)).tensors ? true : 'There is no head to look at.';
  },
  async run(facts, context) {
    await context.pause();
    const { tensors } = await facts.get(HEAD);
    const name = tensors?.weight.gradient.name ?? '';
    const { data } = facts.given.gradients.read(name);
    const largest = data.reduce((most, value) => Math.max(most, value), -Infinity);
    const pixels = Float64Array.from({ length: 64 }, (_, at) => at / 64);
    const futureDetail = { type: 'hologram', depth: 3, note: 'of a later version' } as unknown as Detail;
    return {
      outcome: 'found',
      detail: `The largest number is ${largest.toPrecision(3)}.`,
      leaks: [
        {
          noun: 'Toy',
          what: `${name}: its largest number is ${largest.toPrecision(3)}`,
          brief: `the largest number of "${name}"`,
          title: 'A toy that leaks',
          amount: '1 number',
          sample: null,
          tensor: name,
          certificate: { by: 'equations', error: 0, floor: 0, expectedError: 0, verdict: 'exact' },
          gives: { inputs: 0, tokens: 0 },
          details: [
            { type: 'text', text: `Read from \`${name}\`, as anybody could.` },
            { type: 'facts', facts: [{ name: 'largest', value: largest.toPrecision(3) }] },
            {
              type: 'table',
              title: 'Toy table',
              columns: [{ title: 'Rank' }, { title: 'Number', isNumber: true, hint: 'of the gradient' }],
              rows: [{ cells: ['first', largest.toPrecision(3)], highlighted: [1] }],
            },
            { type: 'bars', title: 'Toy bars', bars: [{ name: 'most', from: 0.4, to: 0.6, words: '40 to 60 %' }] },
            {
              type: 'curve',
              title: 'Toy curve',
              xTitle: 'step',
              yTitle: 'loss',
              series: [{ name: 'run', x: [0, 1, 2], y: [4, 2, 1] }],
            },
            { type: 'tokens', tokens: [{ text: ' toy', hint: 'id 7' }, { text: 'word' }], more: 3 },
            {
              type: 'texts',
              source: 'toy.json',
              texts: [
                {
                  title: 'Text 1',
                  label: 'positive',
                  tokens: [
                    { id: 1, text: 'A toy' },
                    { id: 2, text: ' leaks', isUncertain: true, alternatives: [{ id: 3, text: ' speaks' }] },
                    { id: 4, text: '.\nOn two lines.' },
                  ],
                },
              ],
            },
            { type: 'picture', title: 'Toy picture', shape: [1, 8, 8], file: 'toy-0.npy' },
            futureDetail,
          ],
          findings: [
            {
              id: 'toy-found',
              severity: 'medium',
              title: 'A toy can be read from this gradient',
              evidence: `It is ${largest.toPrecision(3)}.`,
              mitigation: 'Put it away.',
            },
          ],
          arrays: [{ name: 'toy-0', shape: [1, 8, 8], data: pixels }],
        },
      ],
    };
  },
};
