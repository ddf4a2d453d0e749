import { html, render } from 'lit';
import type { ProjectEntry, ProjectProgress, ProjectReport } from '../src/protocol/project-report.js';
import type { EntryPreview, FromSummary, ProjectPage, ToSummary } from '../src/protocol/summary-messages.js';
import { connectHost } from './host.js';
import { RowWindow } from './ui/row-window.js';
import { ENTRIES_SCROLLER, ENTRY_HEIGHT } from './views/entries-table.js';
import {
  type EntryColumn,
  type EntrySort,
  matchingEntries,
  recoveredEntries,
  sortedEntries,
} from './views/entry-order.js';
import { GALLERY_SCROLLER, TILE_ROW_HEIGHT, galleryColumns, tilesOnScreen } from './views/recovered-gallery.js';
import { summaryView } from './views/summary-view.js';

/** Entry of the summary of a project, in VS Code and on a saved page. */

interface Kept {
  filter: string;
}

/** A report with what follows from it: made when something changes, as every step of scrolling draws. */
interface Shown {
  readonly report: ProjectReport;
  readonly sort: EntrySort;
  readonly sorted: readonly ProjectEntry[];
  readonly matching: readonly ProjectEntry[];
  readonly recovered: readonly ProjectEntry[];
  readonly closedScripts: ReadonlyMap<string, string>;
}

const root = document.getElementById('root');
const host = connectHost<FromSummary, ToSummary, Kept>(['show', 'progress', 'previews', 'problem']);
let shown: Shown | undefined;
let progress: ProjectProgress | null = null;
let filter = host?.recall()?.filter ?? '';

/** Lists up to this length are drawn whole. */
const FEW = 200;
const changed = (): void => {
  drawSoon();
};
const galleryScroller = (): HTMLElement | null => document.getElementById(GALLERY_SCROLLER);
const windows = {
  entries: new RowWindow({
    scroller: () => document.getElementById(ENTRIES_SCROLLER),
    rowHeight: ENTRY_HEIGHT,
    wholeUpTo: FEW,
    changed,
  }),
  gallery: new RowWindow({
    scroller: galleryScroller,
    rowHeight: TILE_ROW_HEIGHT,
    overscan: 2,
    // Everything is at hand on a saved page, which may be printed.
    ...(host ? {} : { wholeUpTo: FEW }),
    changed,
  }),
};

/** Those that have come, the one that was on screen last at the end. */
const previews = new Map<string, EntryPreview>();
const asked = new Set<string>();
const MOST_PREVIEWS = 500;
/** As many as one message may ask for. */
const MOST_ASKED = 100;

/** Ids of the rows that are open. */
let opened: ReadonlySet<string> = new Set();
let hasPages = false;

function show(report: ProjectReport, closedScripts: readonly { file: string; why: string }[]): void {
  const sort = shown?.sort ?? { by: 'severity', descending: true };
  const sorted = sortedEntries(report.entries, sort);
  shown = {
    report,
    sort,
    sorted,
    matching: matchingEntries(sorted, filter),
    recovered: recoveredEntries(report.entries),
    closedScripts: new Map(closedScripts.map(({ file, why }) => [file, why])),
  };
  draw();
}

/** Other entries, or the same in another order. */
function arrange(own: Partial<Shown>): void {
  if (shown) {
    shown = { ...shown, ...own };
    shown = { ...shown, matching: matchingEntries(shown.sorted, filter) };
    windows.entries.forget();
    draw();
  }
}

const actions = {
  post: (message: FromSummary): void => {
    host?.post(message);
  },
  setFilter: (own: string): void => {
    filter = own;
    host?.remember({ filter });
    arrange({});
  },
  sortBy: (by: EntryColumn): void => {
    if (shown) {
      const descending = shown.sort.by === by ? !shown.sort.descending : by !== 'gradients';
      const sort = { by, descending };
      arrange({ sort, sorted: sortedEntries(shown.report.entries, sort) });
    }
  },
  toggle: (id: string): void => {
    const isOpened = opened.has(id);
    opened = isOpened ? new Set([...opened].filter((own) => own !== id)) : new Set([...opened, id]);
    draw();
  },
  openTile: (id: string): void => {
    if (host) {
      host.post({ t: 'open', id });
    } else {
      openRow(id);
    }
  },
  print: (): void => {
    print();
  },
};

/** Shows the row of an entry, whatever was filtered before. */
function openRow(id: string): void {
  opened = new Set([...opened, id]);
  actions.setFilter('');
  const at = shown?.matching.findIndex((entry) => entry.id === id) ?? -1;
  if (at >= 0) {
    windows.entries.reveal(at);
    requestAnimationFrame(() => {
      const row = document.getElementById(`entry-${id}`);
      row?.scrollIntoView({ block: 'center' });
      row?.previousElementSibling?.querySelector<HTMLElement>('.disclose')?.focus({ preventScroll: true });
    });
  }
}

let waiting = false;

/** Scrolling and typing ask for more drawings than a screen shows. */
function drawSoon(): void {
  if (!waiting) {
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  }
}

let isDrawn = false;

function draw(): void {
  if (!root) {
    return;
  }
  if (!isDrawn) {
    // What the page says until then; afterwards all in it is drawn here.
    root.querySelector(':scope > [role="status"]')?.remove();
    isDrawn = true;
  }
  if (!shown) {
    render(
      html`<h1>Audit of the workspace</h1>
        <p role="status">${progress ? `${progress.done} of ${progress.of}: ${progress.message}` : 'No audit yet.'}</p>`,
      root,
    );
    return;
  }
  const { report, sort, matching, recovered, closedScripts } = shown;
  const gallery = {
    entries: host ? recovered : recovered.filter(({ id }) => previews.has(id)),
    previews,
    columns: galleryColumns(galleryScroller()?.clientWidth ?? 0),
    of: recovered.length,
  };
  const state = {
    report,
    progress,
    filter,
    sort,
    shown: matching,
    closedScripts,
    gallery,
    isLive: host !== undefined,
    opened,
    previews,
    hasPages,
  };
  render(summaryView(state, windows, actions), root);
  const isNew = [
    windows.entries.update(matching.length),
    windows.gallery.update(Math.ceil(gallery.entries.length / gallery.columns)),
  ].some(Boolean);
  if (isNew || gallery.columns !== galleryColumns(galleryScroller()?.clientWidth ?? 0)) {
    // The lists have just come into being: what is on screen is known only now.
    drawSoon();
    return;
  }
  askFor([...tilesOnScreen(gallery, windows.gallery), ...recovered.filter(({ id }) => opened.has(id))]);
}

function askFor(tiles: readonly ProjectEntry[]): void {
  const ids = tiles.map(({ id }) => id).filter((id) => !asked.has(id));
  for (const id of ids) {
    asked.add(id);
  }
  for (let at = 0; at < ids.length; at += MOST_ASKED) {
    host?.post({ t: 'previews', ids: ids.slice(at, at + MOST_ASKED) });
  }
}

/** Those longest not asked for go first. */
function keep(own: readonly EntryPreview[]): void {
  for (const preview of own) {
    previews.set(preview.id, preview);
  }
  for (const id of [...previews.keys()].slice(0, Math.max(0, previews.size - MOST_PREVIEWS))) {
    previews.delete(id);
    asked.delete(id);
  }
  drawSoon();
}

// What is closed on screen belongs on paper, as far as it is drawn.
let openedOnScreen: ReadonlySet<string> = opened;
addEventListener('beforeprint', () => {
  openedOnScreen = opened;
  opened = new Set(shown && shown.matching.length <= FEW ? shown.matching.map(({ id }) => id) : opened);
  draw();
  document.querySelectorAll('details').forEach((own) => {
    own.open = true;
  });
});
addEventListener('afterprint', () => {
  opened = openedOnScreen;
  draw();
});

const embedded = document.getElementById('gradleak-report')?.textContent;
window.addEventListener('resize', changed);
if (embedded) {
  const page = JSON.parse(embedded) as ProjectPage;
  hasPages = page.hasPages;
  for (const preview of page.previews) {
    previews.set(preview.id, preview);
  }
  show(page.report, []);
} else if (host) {
  host.onMessage((message) => {
    switch (message.t) {
      case 'show':
        show(message.report, message.closedScripts);
        break;
      case 'progress':
        progress = message.progress;
        draw();
        break;
      case 'previews':
        keep(message.previews);
        break;
      case 'problem':
        if (root) {
          if (!isDrawn) {
            // What the page says until then; afterwards all in it is drawn here.
            root.querySelector(':scope > [role="status"]')?.remove();
            isDrawn = true;
          }
          render(html`<p class="problem" role="alert">${message.sentence}</p>`, root);
        }
        break;
    }
  });
  host.post({ t: 'ready' });
}
