import { describe, expect, it } from 'vitest';
import { compareResults, comparisonInWords } from '../../../src/project/compare-results.js';
import { entryResult } from '../../project-entries.js';

describe('two audits beside each other', () => {
  it('differ in what one gave away and the other did not', () => {
    const one = entryResult({ severity: 'critical', samples: 4, labels: 4, features: 4, exactInputs: 2 });
    const other = entryResult({ outcome: 'none', severity: null, samples: 4, labels: 0, features: 0, tokens: 3 });
    const rows = compareResults(one, other);
    expect(rows.find(({ what }) => what === 'labels')).toEqual({ what: 'labels', one: '4 of 4', other: '0 of 4' });
    expect(comparisonInWords(rows, ['Left', 'right'])).toBe(
      'Left against right: verdict leaks against nothing found; worst finding critical against none; labels 4 of 4 against 0 of 4; last-layer features 4 of 4 against 0 of 4; inputs computed exactly 2 against 0; tokens 0 against 3.',
    );
  });

  it('take an estimate of counts for no leak', () => {
    const counts = { classes: 3, of: 10, confirmed: false };
    const [verdict] = compareResults(
      entryResult({ outcome: 'counts', counts }),
      entryResult({ outcome: 'counts', counts: { ...counts, confirmed: true } }),
    );
    expect(verdict).toEqual({ what: 'verdict', one: 'counts estimated', other: 'leaks' });
  });

  it('say so where they came out the same', () => {
    const rows = compareResults(entryResult(), entryResult({ sentence: 'In other words.' }));
    expect(comparisonInWords(rows, ['Left', 'right'])).toContain('came out the same');
  });
});
