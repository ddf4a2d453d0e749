import { describe, expect, it } from 'vitest';
import type { Slice, TensorDifference, TensorStatistics } from '../../../src/protocol/inspection.js';
import type { DirectoryHeader, DirectoryRows, ToInspector } from '../../../src/protocol/inspector-messages.js';
import {
  type State,
  hasSparseRows,
  isHeavy,
  needsAll,
  nextNeed,
  noticeOf,
  sortOf,
  startState,
} from '../../../webview/inspector/state.js';
import {
  askedForRows,
  closed,
  computed,
  detailChanged,
  filtered,
  foundTensor,
  keyed,
  movedTo,
  opened,
  ordered,
  pointed,
  received,
  scrolledTo,
  sortedBy,
  zoomedTo,
} from '../../../webview/inspector/store.js';

/** Steps of the inspector without a page: what a message or an action makes of a state. */

const ROWS: DirectoryRows = {
  names: ['conv.weight', 'conv.bias', 'fc.weight', 'fc.bias', 'step'],
  shapes: [[8, 3, 5, 5], [8], [10, 32], [10], []],
  dtypes: ['float32', 'float32', 'float32', 'float32', 'int64'],
  bytes: [2400, 32, 1280, 40, 8],
};
const ALL = [0, 1, 2, 3, 4, 5, 6];

function header(tensors: number, part: Partial<DirectoryHeader> = {}): DirectoryHeader {
  return {
    path: '/runs/gradient.pt',
    format: 'PyTorch (zip)',
    fileBytes: 5000,
    kind: { kind: 'gradient', reasons: ['By its name.'] },
    globals: [],
    notes: [],
    tensors,
    buffers: [],
    ...part,
  };
}

function after(state: State, ...messages: ToInspector[]): State {
  return messages.reduce(received, state);
}

function openFile(rows = ROWS, kept?: State['kept']): State {
  const about = header(rows.names.length);
  return after(startState(kept), { t: 'directory', about }, { t: 'rows', from: 0, rows });
}

function statistics(part: Partial<TensorStatistics>): TensorStatistics {
  return { min: 0, max: 1, mean: 0.5, std: 0.1, norm: 1, zeros: 0, nans: 0, infinities: 0, ...part };
}

function difference(part: Partial<TensorDifference>): TensorDifference {
  return { status: 'changed', most: 1, relative: 1, cosine: 0, ...part };
}

const SLICE: Slice = {
  rows: 1,
  columns: 2,
  window: { top: 0, bottom: 1, left: 0, right: 2 },
  cellRows: 1,
  cellColumns: 2,
  cells: Buffer.from(new Float64Array([1.5, -2]).buffer).toString('base64'),
  scale: 2,
};

function labels({ rows }: State): string[] {
  return rows.map(({ label }) => label);
}

/** Where the tensor with this index stands in the table. */
function at({ rows }: State, index: number): number {
  return rows.findIndex((row) => row.kind === 'tensor' && row.index === index);
}

function freeze<T extends object>(value: T): T {
  // A typed array cannot be frozen.
  if (!ArrayBuffer.isView(value) && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const own of Object.values(value) as unknown[]) {
      if (typeof own === 'object' && own !== null) {
        freeze(own);
      }
    }
  }
  return value;
}

describe('a file', () => {
  it('is a tree of its tensors once all rows are there', () => {
    const state = openFile();
    expect(labels(state)).toEqual(['conv', 'weight', 'bias', 'fc', 'weight', 'bias', 'step']);
    expect(state.shown).toEqual({ indices: [0, 1, 2, 3, 4], bytes: 3760 });
    expect(state).toMatchObject({ active: 0, detail: undefined, look: undefined });
  });

  it('comes in parts: the first is shown at once, those between are not, the last completes it', () => {
    const rows = (from: number, to: number): ToInspector => ({
      t: 'rows',
      from,
      rows: {
        names: ROWS.names.slice(from, to),
        shapes: ROWS.shapes.slice(from, to),
        dtypes: ROWS.dtypes.slice(from, to),
        bytes: ROWS.bytes.slice(from, to),
      },
    });
    const first = after(startState(undefined), { t: 'directory', about: header(5) }, rows(0, 2));
    expect(labels(first)).toEqual(['conv', 'weight', 'bias']);
    const second = after(first, rows(2, 4));
    expect(second.rows).toBe(first.rows);
    expect(second.tensors.names).toHaveLength(4);
    const last = after(second, rows(4, 5));
    expect(last.rows).toEqual(openFile().rows);
    // Earlier states are as they were.
    expect(first.tensors.names).toEqual(['conv.weight', 'conv.bias']);
  });

  it('of more than 2000 tensors starts closed', () => {
    const names = Array.from({ length: 2001 }, (_, index) => `layer${index % 3}.p${index}`);
    const large = openFile({
      names,
      shapes: names.map(() => [1]),
      dtypes: names.map(() => 'float32'),
      bytes: names.map(() => 4),
    });
    expect(labels(large)).toEqual(['layer0', 'layer1', 'layer2']);
    expect(labels(opened(large, 1))).toHaveLength(3 + 667);
    // What was looked for is shown, wherever it is.
    expect(labels(filtered(large, 'p2000'))).toEqual(['layer2', 'p2000']);
  });

  it('read again forgets numbers, problem and closer look, and keeps filter and order', () => {
    const before = after(
      computed(sortedBy(filtered(openFile(), 'weight'), 'bytes'), 0),
      { t: 'kind', kind: { kind: 'checkpoint', reasons: [] } },
      { t: 'statistics', of: [{ row: 0, statistics: statistics({}) }] },
      { t: 'problem', sentence: 'It has gone.' },
    );
    expect(before).toMatchObject({ problem: 'It has gone.', kind: { kind: 'checkpoint' } });
    const again = after(
      before,
      { t: 'directory', about: header(5, { buffers: [4] }) },
      { t: 'rows', from: 0, rows: ROWS },
    );
    expect(again).toMatchObject({ problem: undefined, kind: undefined, need: undefined });
    expect(again.tensors.statistics.size + again.computed.size).toBe(0);
    expect([...again.tensors.buffers]).toEqual([4]);
    expect(again.kept).toEqual(before.kept);
    expect(again.shown.indices).toEqual([0, 2]);
  });

  it('opens the tensor that an earlier page had open, where it still has one', () => {
    const kept = { filter: '', flat: true, sort: null, selected: 2 };
    const state = openFile(ROWS, kept);
    expect(state.detail).toMatchObject({ row: 2, name: 'fc.weight' });
    expect(state.look?.at).toMatchObject({ what: 'slice', row: 2 });
    expect(labels(state)[0]).toBe('conv.weight');
    expect(openFile(ROWS, { ...kept, selected: 5 }).detail).toBeUndefined();
  });

  it('that cannot be shown keeps what was shown before', () => {
    const state = after(openFile(), { t: 'problem', sentence: 'It cannot be read.' });
    expect(state.problem).toBe('It cannot be read.');
    expect(state.rows).toHaveLength(7);
  });
});

describe('rows', () => {
  it('are filtered by every word, and the keyboard goes back to the first', () => {
    const state = filtered(movedTo(openFile(), 5), 'weight 10x32');
    expect(labels(state)).toEqual(['fc', 'weight']);
    expect(state).toMatchObject({ active: 0, shown: { indices: [2], bytes: 1280 } });
    expect(filtered(state, 'nothing of the kind')).toMatchObject({ active: 0, rows: [], shown: { bytes: 0 } });
    expect(labels(filtered(state, ''))).toHaveLength(7);
  });

  it('are a list or a tree', () => {
    const list = ordered(openFile(), true);
    expect(labels(list)).toEqual(ROWS.names);
    expect(list.kept.flat).toBe(true);
    expect(ordered(list, false).rows).toEqual(openFile().rows);
  });

  it('are sorted by numbers largest first, then smallest first, then as in the file', () => {
    const list = ordered(openFile(), true);
    const down = sortedBy(list, 'bytes');
    expect(labels(down)).toEqual(['conv.weight', 'fc.weight', 'fc.bias', 'conv.bias', 'step']);
    const up = sortedBy(down, 'bytes');
    expect(labels(up)).toEqual(labels(down).reverse());
    const none = sortedBy(up, 'bytes');
    expect(none.kept.sort).toBeNull();
    expect(labels(none)).toEqual(ROWS.names);
  });

  it('are sorted in a tree too, a module standing where its first tensor would', () => {
    const smallest = sortedBy(sortedBy(openFile(), 'bytes'), 'bytes');
    expect(labels(smallest)).toEqual(['fc', 'bias', 'weight', 'conv', 'bias', 'weight', 'step']);
    expect(labels(sortedBy(openFile(), 'shape'))).toEqual(['conv', 'weight', 'bias', 'fc', 'weight', 'bias', 'step']);
    const known = after(openFile(), {
      t: 'statistics',
      of: [0, 1, 2, 3, 4].map((row) => ({ row, statistics: statistics({ norm: row }) })),
    });
    expect(labels(sortedBy(known, 'norm'))).toEqual(['fc', 'bias', 'weight', 'conv', 'bias', 'weight', 'step']);
  });

  it('with a finding are opened from it, whatever hides them', () => {
    const of = {
      findings: [{ id: 'x', severity: 'high' as const, title: 'T', evidence: 'E', mitigation: 'M', row: 2 }],
      problems: [],
    };
    const hidden = after(filtered(opened(openFile(), 3), 'conv'), { t: 'findings', of });
    expect(hidden.findings).toBe(of);
    const shown = foundTensor(hidden, 2);
    expect(shown.kept).toMatchObject({ filter: '', selected: 2 });
    expect(shown.active).toBe(at(shown, 2));
    expect(shown.detail?.name).toBe('fc.weight');
    expect(after(shown, { t: 'directory', about: header(5) }).findings).toBeUndefined();
  });

  it('are sorted by text from A first, and by another column anew', () => {
    const list = ordered(openFile(), true);
    const byName = sortedBy(list, 'name');
    expect(sortOf(byName)).toEqual({ by: 'name', descending: false });
    expect(labels(byName)[0]).toBe('conv.bias');
    expect(sortOf(sortedBy(byName, 'shape'))).toEqual({ by: 'shape', descending: true });
  });

  it('stay as in the file where a remembered column is not known', () => {
    const state = openFile(ROWS, { filter: '', flat: true, sort: { by: 'colour', descending: true }, selected: null });
    expect(sortOf(state)).toBeNull();
    expect(labels(state)).toEqual(ROWS.names);
  });

  it('move when numbers arrive by which they are sorted, and only then', () => {
    const message: ToInspector = {
      t: 'statistics',
      of: [
        { row: 3, statistics: statistics({ norm: 9 }) },
        { row: 1, statistics: statistics({ norm: 3 }) },
      ],
    };
    const list = ordered(openFile(), true);
    expect(received(list, message).rows).toBe(list.rows);
    const sorted = received(sortedBy(list, 'norm'), message);
    expect(labels(sorted).slice(0, 2)).toEqual(['fc.bias', 'conv.bias']);
    expect(list.tensors.statistics.size).toBe(0);
  });
});

describe('numbers', () => {
  it('are asked for once, for tensors on screen without them, smallest first', () => {
    const state = openFile();
    const asking = askedForRows(state, [0, 1, 2]);
    expect(asking.need).toEqual({ rows: [1, 0], differences: false });
    expect(askedForRows(asking, ALL)).toBe(asking);
    const answered = received(asking, { t: 'statistics', of: [{ row: 1, statistics: statistics({}) }] });
    expect(answered.need).toBeUndefined();
    expect(askedForRows(answered, [0, 1, 2]).need).toEqual({ rows: [0], differences: false });
    const all = received(asking, {
      t: 'statistics',
      of: ROWS.names.map((_, row) => ({ row, statistics: statistics({}) })),
    });
    expect(askedForRows(all, ALL)).toBe(all);
  });

  it('are not asked for before there is a file', () => {
    const state = startState(undefined);
    expect(askedForRows(state, ALL)).toBe(state);
  });

  it('of large tensors are asked for when the user wants them', () => {
    const state = openFile({ ...ROWS, bytes: [2 ** 28 + 1, 32, 2 ** 28, 40, 8] });
    expect([isHeavy(state, 0), isHeavy(state, 2)]).toEqual([true, false]);
    expect(nextNeed(state, [1, 4])?.rows).toEqual([2]);
    const wanted = computed(state, 0);
    expect(isHeavy(wanted, 0)).toBe(false);
    expect(nextNeed(wanted, [])?.rows).toEqual([0]);
    expect(keyed(movedTo(state, 1), 'c', 10)?.computed).toEqual(new Set([0]));
    expect(keyed(state, 'c', 10)?.computed.size).toBe(0);
  });

  it('of all rows that the filter lets through are needed to sort by them', () => {
    const sorted = sortedBy(filtered(openFile(), 'weight'), 'mean');
    expect(needsAll(sorted)).toBe(true);
    expect(nextNeed(sorted, [])?.rows).toEqual([2, 0]);
    expect(nextNeed(sortedBy(sorted, 'bytes'), [])).toBeUndefined();
  });

  it('of too many rows are not computed unasked, which is said', () => {
    const large = openFile({ ...ROWS, bytes: [2 ** 31, 32, 1280, 40, 8] });
    const sorted = sortedBy(large, 'mean');
    expect(needsAll(sorted)).toBe(false);
    expect(noticeOf(sorted)).toMatch(/^Sorted by the numbers that are known: 5 tensors of 2\.00 GB are too many/);
    expect(noticeOf(large)).toBeUndefined();
    expect(noticeOf(filtered(sorted, 'bias'))).toBeUndefined();
  });

  it('of a comparison come before statistics, and go with it', () => {
    const summary = { path: '/runs/other.pt', onlyThere: [], how: 'names' as const, matched: 5 };
    const compared = received(openFile(), { t: 'difference', summary });
    expect(nextNeed(compared, [1, 2])).toEqual({ rows: [1, 0], differences: true });
    const known = received(compared, {
      t: 'differences',
      of: [
        { row: 0, difference: difference({}) },
        { row: 1, difference: difference({ status: 'equal' }) },
      ],
    });
    expect(nextNeed(known, [1, 2])).toEqual({ rows: [1, 0], differences: false });
    expect(received(known, { t: 'difference', summary: null })).toMatchObject({
      compared: null,
      tensors: { differences: new Map() },
    });
  });
});

describe('the open tensor', () => {
  const open = opened(openFile(), 4);
  const answer = (state: State): ToInspector => ({
    t: 'look',
    id: state.look?.id ?? -1,
    result: { what: 'slice', slice: SLICE },
  });

  it('is chosen in the table, remembered, and its first slice asked for', () => {
    expect(open).toMatchObject({ active: 4, detail: { row: 2, name: 'fc.weight', tab: 'map', map: undefined } });
    expect(open.kept.selected).toBe(2);
    expect(open.look?.at).toEqual({
      what: 'slice',
      row: 2,
      request: { rowAxis: 0, columnAxis: 1, at: [0, 0], of: 'here' },
    });
    expect(open.reveal).toEqual({ soon: true });
    const vector = opened(open, 5);
    expect(vector.detail?.request).toMatchObject({ rowAxis: -1, columnAxis: 0, at: [0] });
  });

  it('is drawn when its slice arrives', () => {
    const state = received(open, answer(open));
    expect(state.detail?.map).toEqual({ slice: SLICE, cells: new Float64Array([1.5, -2]), cell: null });
    expect(pointed(state, { row: 0, column: 1 }).detail?.map?.cell).toEqual({ row: 0, column: 1 });
    expect(pointed(open, { row: 0, column: 1 })).toBe(open);
  });

  it('does not take the slice of a tensor that was open before, nor a closed one any', () => {
    const other = opened(open, 1);
    expect(received(other, answer(open))).toBe(other);
    expect(received(other, answer(other)).detail?.map).toBeDefined();
    const none = closed(open);
    expect(received(none, answer(open))).toBe(none);
    expect(received(other, { t: 'look-failed', id: open.look!.id, sentence: 'Too late.' })).toBe(other);
  });

  it('says why its tab is empty until something else is asked', () => {
    const failed = received(open, { t: 'look-failed', id: open.look!.id, sentence: 'It cannot be read.' });
    expect(failed.detail?.problem).toBe('It cannot be read.');
    expect(detailChanged(failed, { tab: 'histogram' }).detail?.problem).toBeUndefined();
  });

  it('asks for what its tab shows; an answer to the tab before is dropped', () => {
    const histogram = detailChanged(open, { tab: 'histogram' });
    expect(histogram.look?.at).toEqual({ what: 'histogram', row: 2 });
    expect(received(histogram, answer(open))).toBe(histogram);
    const values = detailChanged(open, { tab: 'values' });
    expect(values.look?.at).toEqual({ what: 'text', row: 2, start: 0 });
    expect(scrolledTo(values, 256).look?.at).toEqual({ what: 'text', row: 2, start: 256 });
    const filters = detailChanged(opened(openFile(), 1), { tab: 'filters' });
    expect(detailChanged(filters, { input: 2 }).look?.at).toEqual({ what: 'filters', row: 0, input: 2 });
    // The tab stays for the next tensor, but that has no filters.
    expect(opened(histogram, 5).detail?.tab).toBe('histogram');
    expect(opened(filters, 5).detail?.tab).toBe('map');
  });

  it('of four axes starts with the last two, and is pictures where it looks like them', () => {
    const images = { names: ['x'], shapes: [[20, 3, 32, 32]], dtypes: ['float32'], bytes: [245760] };
    const state = opened(openFile(images), 0);
    expect(state.look?.at).toMatchObject({ what: 'slice', request: { rowAxis: 2, columnAxis: 3 } });
    const tab = detailChanged(state, { tab: 'pictures' });
    const request = { channelAxis: 1, rowAxis: 2, columnAxis: 3, alongAxis: 0, at: [0, 0, 0, 0], first: 0 };
    expect(tab.look?.at).toEqual({ what: 'pictures', row: 0, request });
    const later = detailChanged(tab, { pictureRequest: { ...request, first: 16 } });
    expect(later.look?.at).toMatchObject({ request: { first: 16 } });
    expect(opened(openFile(), 1).detail?.pictureRequest).toBeUndefined();
  });

  it('shows a window of its slice, and all of it again', () => {
    const window = { top: 0, bottom: 5, left: 0, right: 16 };
    const near = zoomedTo(open, window);
    expect(near.look?.at).toMatchObject({ what: 'slice', request: { rowAxis: 0, window } });
    expect(zoomedTo(near, undefined).detail?.request).toEqual(open.detail?.request);
    const none = closed(open);
    expect([zoomedTo(none, window), scrolledTo(none, 1), detailChanged(none, { input: 1 })]).toEqual([
      none,
      none,
      none,
    ]);
  });

  it('starts with the difference where it has changed, and goes back to this file when the comparison ends', () => {
    const summary = { path: '/runs/other.pt', onlyThere: [], how: 'names' as const, matched: 5 };
    const known = after(
      openFile(),
      { t: 'difference', summary },
      {
        t: 'differences',
        of: [
          { row: 2, difference: difference({}) },
          { row: 3, difference: difference({ status: 'equal' }) },
        ],
      },
    );
    const changed = opened(known, at(known, 2));
    expect(changed.detail).toMatchObject({ compares: true, request: { of: 'difference' } });
    expect(opened(known, at(known, 3)).detail?.request.of).toBe('here');
    const ended = received(changed, { t: 'difference', summary: null });
    expect(ended.detail).toMatchObject({ compares: false, request: { of: 'here' } });
    expect(ended.look).toMatchObject({ id: changed.look!.id + 1, at: { request: { of: 'here' } } });
  });

  it('closes by Escape and is forgotten', () => {
    const state = keyed(open, 'Escape', 10);
    expect(state).toMatchObject({ detail: undefined, kept: { selected: null } });
  });
});

describe('keys', () => {
  it('move through the rows and stop at both ends', () => {
    const state = openFile();
    const active = (key: string, from: number): number | undefined => keyed(movedTo(state, from), key, 3)?.active;
    expect([active('ArrowDown', 0), active('ArrowDown', 6), active('ArrowUp', 0)]).toEqual([1, 6, 0]);
    expect([active('PageDown', 1), active('PageDown', 5), active('PageUp', 5)]).toEqual([4, 6, 2]);
    expect([active('Home', 4), active('End', 4)]).toEqual([0, 6]);
    expect(keyed(state, 'ArrowDown', 3)?.reveal).toEqual({ soon: false });
    expect(keyed(filtered(state, 'nothing'), 'End', 3)?.active).toBe(0);
  });

  it('close and open modules, and go from a tensor to its module', () => {
    const state = openFile();
    const shut = keyed(state, 'ArrowLeft', 3)!;
    expect(labels(shut)).toEqual(['conv', 'fc', 'weight', 'bias', 'step']);
    expect(keyed(shut, 'ArrowRight', 3)?.rows).toEqual(state.rows);
    expect(keyed(state, 'ArrowRight', 3)?.active).toBe(1);
    expect(keyed(movedTo(state, 5), 'ArrowLeft', 3)?.active).toBe(3);
    expect(keyed(movedTo(state, 6), 'ArrowLeft', 3)?.active).toBe(0);
    expect(labels(keyed(state, ' ', 3)!)).toEqual(labels(shut));
    expect(keyed(movedTo(state, 6), 'Enter', 3)?.detail?.name).toBe('step');
  });

  it('that are not of the table are left to the page', () => {
    expect(keyed(openFile(), 'Tab', 3)).toBeUndefined();
  });

  it('keep the active row within the rows when a module above closes', () => {
    const end = movedTo(openFile(), 6);
    const list = opened({ ...end, active: 6 }, 0);
    expect(list.active).toBe(0);
    // Another order is looked at from its beginning.
    expect(sortedBy({ ...list, active: 6 }, 'name').active).toBe(0);
  });
});

it('no step changes the state that it starts from', () => {
  const state = freeze(after(opened(openFile(), 1), { t: 'statistics', of: [{ row: 0, statistics: statistics({}) }] }));
  const sets = [state.tensors.statistics.size, state.collapsed.size, state.computed.size];
  filtered(state, 'bias');
  ordered(state, true);
  sortedBy(state, 'norm');
  opened(state, 0);
  computed(state, 1);
  closed(state);
  askedForRows(state, ALL);
  zoomedTo(state, { top: 0, bottom: 1, left: 0, right: 1 });
  received(state, { t: 'statistics', of: [{ row: 1, statistics: statistics({}) }] });
  received(state, { t: 'differences', of: [{ row: 1, difference: difference({}) }] });
  received(state, { t: 'look', id: state.look!.id, result: { what: 'slice', slice: SLICE } });
  received(state, { t: 'rows', from: 5, rows: ROWS });
  received(state, { t: 'directory', about: header(5) });
  expect([state.tensors.statistics.size, state.collapsed.size, state.computed.size]).toEqual(sets);
  expect(state.tensors.differences.size).toBe(0);
});

describe('rows that are not zero', () => {
  const matrix = ROWS.names.indexOf('fc.weight');
  const openMatrix = (...messages: ToInspector[]): State => {
    const state = after(openFile(), ...messages);
    return opened(state, labels(state).lastIndexOf('weight'));
  };
  const known = (part: Partial<TensorStatistics>): ToInspector => ({
    t: 'statistics',
    of: [{ row: matrix, statistics: statistics(part) }],
  });

  it('are offered for matrices of many zeros, and as long as nobody knows', () => {
    const offered = (state: State): boolean => hasSparseRows(state, state.detail!);
    expect(offered(openMatrix())).toBe(true);
    expect(offered(openMatrix(known({ zeros: 0.9 })))).toBe(true);
    expect(offered(openMatrix(known({ zeros: 0.1 })))).toBe(false);
    expect(offered(openMatrix(known({ problem: 'complex' })))).toBe(false);
    expect(offered(opened(openFile(), 1))).toBe(false);
    // A tab that is open stays, whatever becomes known.
    expect(offered(after(detailChanged(openMatrix(), { tab: 'rows' }), known({ zeros: 0 })))).toBe(true);
  });

  it('are asked for by their tab, which the next tensor need not have', () => {
    const state = detailChanged(openMatrix(), { tab: 'rows' });
    expect(state.look?.at).toEqual({ what: 'rows', row: matrix });
    const rows = { rows: 10, count: 1, indices: [3], largest: [0.5] };
    const shown = after(state, { t: 'look', id: state.look!.id, result: { what: 'rows', rows } });
    expect(shown.detail?.nonZeroRows).toBe(rows);
    expect(opened(shown, 1).detail).toMatchObject({ tab: 'map', nonZeroRows: undefined });
  });
});

describe('a transformer', () => {
  const blocks = (count: number, each: number): State => {
    const paths = Array.from({ length: count }, (_, at) => `h.${at}`);
    const names = [...paths].sort().flatMap((path) => Array.from({ length: each }, (_, at) => `${path}.attn.p${at}`));
    const about = header(names.length, { model: { sentence: 'GPT-2', blocks: paths } });
    const of = <T>(value: T): T[] => names.map(() => value);
    const rows = { names, shapes: of([1]), dtypes: of('float32'), bytes: of(4) };
    return after(startState(undefined), { t: 'directory', about }, { t: 'rows', from: 0, rows });
  };

  it('shows its blocks by number, with what is in them', () => {
    expect(labels(blocks(2, 2))).toEqual(['h', 'Block 0', 'attn', 'p0', 'p1', 'Block 1', 'attn', 'p0', 'p1']);
    // A block of its own is no part of a longer path.
    expect(labels(blocks(1, 1))).toEqual(['Block 0', 'attn', 'p0']);
  });

  it('of many tensors starts with its blocks closed, in the order of their numbers', () => {
    const state = blocks(11, 10);
    expect(labels(state)).toEqual(['h', ...Array.from({ length: 11 }, (_, at) => `Block ${at}`)]);
    // What is looked for is shown, wherever it is.
    expect(labels(filtered(state, 'h.10.attn.p7'))).toEqual(['Block 10', 'attn', 'p7']);
    // So many blocks are no overview.
    expect(labels(blocks(2001, 1))).toEqual(['h']);
  });
});
