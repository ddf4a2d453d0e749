import { render } from 'lit';
import type { FromInspector, InspectorState, ToInspector } from '../src/protocol/inspector-messages.js';
import { connectHost } from './host.js';
import { type InspectorActions, inspectorView } from './inspector/inspector-view.js';
import { type State, startState } from './inspector/state.js';
import {
  askedForRows,
  closed,
  computed,
  detailChanged,
  filtered,
  foundTensor,
  keyed,
  opened,
  ordered,
  pointed,
  received,
  scrolledTo,
  sortedBy,
  zoomedTo,
} from './inspector/store.js';
import { ROW_HEIGHT } from './inspector/table-view.js';
import { RowWindow } from './ui/row-window.js';

/** Entry of the gradient inspector: host, state and page are connected here, and each does its part elsewhere. */

const root = document.getElementById('root');
const host = connectHost<FromInspector, ToInspector, InspectorState>([
  'directory',
  'rows',
  'kind',
  'findings',
  'statistics',
  'difference',
  'differences',
  'look',
  'look-failed',
  'audited',
  'problem',
]);
const table = (): HTMLElement | null => document.getElementById('table');
const rowWindow = new RowWindow({
  scroller: table,
  rowHeight: ROW_HEIGHT,
  headHeight: ROW_HEIGHT,
  changed: () => {
    draw();
  },
});

let state: State = startState(host?.recall());

function go(next: State): void {
  settle(next);
  draw();
}

/** The next state, and what it wants done outside the page. */
function settle(next: State): void {
  const before = state;
  state = next;
  if (next.kept !== before.kept) {
    host?.remember(next.kept);
  }
  if (next.look && next.look !== before.look) {
    host?.post({ t: 'look', ...next.look });
  }
  if (next.need && next.need !== before.need) {
    host?.post({ t: 'need', ...next.need });
  }
  if (next.reveal && next.reveal !== before.reveal) {
    reveal(next.reveal.soon);
  }
  if (before.detail && !next.detail) {
    table()?.focus();
    host?.post({ t: 'look-away' });
  }
}

function reveal(soon: boolean): void {
  const now = (): void => {
    rowWindow.reveal(state.active);
  };
  if (soon) {
    setTimeout(now, 50);
  } else {
    now();
  }
}

const actions: InspectorActions = {
  audit: () => {
    host?.post({ t: 'audit' });
  },
  showAudit: () => {
    host?.post({ t: 'show-audit' });
  },
  compare: () => {
    host?.post({ t: 'compare' });
  },
  compareNothing: () => {
    host?.post({ t: 'compare-nothing' });
  },
  copyValues: () => {
    host?.post({ t: 'copy', text: state.detail?.text?.values.join('\n') ?? '' });
  },
  setFilter: (filter) => {
    go(filtered(state, filter));
  },
  setFlat: (flat) => {
    go(ordered(state, flat));
  },
  sortBy: (column) => {
    go(sortedBy(state, column));
  },
  open: (at) => {
    go(opened(state, at));
  },
  compute: (index) => {
    go(computed(state, index));
  },
  key: (event) => {
    const next = event.target === event.currentTarget ? keyed(state, event.key, rowWindow.page()) : undefined;
    if (next) {
      go(next);
      event.preventDefault();
    }
  },
  setTab: (tab) => {
    go(detailChanged(state, { tab }));
  },
  setRequest: (request) => {
    go(detailChanged(state, { request }));
  },
  setInput: (input) => {
    go(detailChanged(state, { input }));
  },
  setPictures: (pictureRequest) => {
    go(detailChanged(state, { pictureRequest }));
  },
  showTensor: (index) => {
    go(foundTensor(state, index));
  },
  setStart: (start) => {
    go(scrolledTo(state, start));
  },
  show: (window) => {
    go(zoomedTo(state, window));
  },
  point: (cell) => {
    go(pointed(state, cell));
  },
  close: () => {
    go(closed(state));
  },
};

let drawing = false;
/** Components of the toolkit take longer to come into being than the whole table: rows are shown first, they a frame later. */
let hasControls = false;

/** At most once per frame. */
function draw(): void {
  if (drawing) {
    return;
  }
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    drawNow();
  });
}

function drawNow(): void {
  if (!root) {
    return;
  }
  root.querySelector(':scope > [role="status"]')?.remove();
  const page = (): void => {
    render(inspectorView(state, rowWindow, hasControls, actions), root);
  };
  page();
  if (rowWindow.update(state.rows.length)) {
    // The table has just come into being: what is on screen is known only now.
    page();
  }
  if (state.about && !hasControls) {
    hasControls = true;
    draw();
  }
  const onScreen = rowWindow.items(state.rows.length).items.map(({ index }) => index);
  settle(askedForRows(state, onScreen));
}

host?.onMessage((message) => {
  go(received(state, message));
});

// Canvases are painted in the theme's colours.
new MutationObserver(() => {
  draw();
}).observe(document.body, { attributeFilter: ['class'] });

host?.post({ t: 'ready' });
