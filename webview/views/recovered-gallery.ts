import { type TemplateResult, html, nothing } from 'lit';
import { guard } from 'lit/directives/guard.js';
import { repeat } from 'lit/directives/repeat.js';
import type { ProjectEntry } from '../../src/protocol/project-report.js';
import type { EntryPreview } from '../../src/protocol/summary-messages.js';
import { counted } from '../../src/words/count-words.js';
import type { RowWindow } from '../ui/row-window.js';
import { tag } from '../ui/toolkit.js';
import { inputsInWords } from './entries-table.js';
import { previewPicture } from './preview-picture.js';

/** What the audits of a project recovered: a tile per gradient with its inputs and texts, of which only those on screen exist. */

/** Pixels of a row, the space below it included. */
export const TILE_ROW_HEIGHT = 186;
export const GALLERY_SCROLLER = 'gallery-scroller';
const LEAST_TILE_WIDTH = 210;

export interface RecoveredGallery {
  readonly entries: readonly ProjectEntry[];
  /** By the entry's id; absent until it has come. */
  readonly previews: ReadonlyMap<string, EntryPreview>;
  /** Tiles in a row. */
  readonly columns: number;
  /** How many gradients gave something away: a saved page has room for the first only. */
  readonly of: number;
}

/** As many tiles in a row as fit. */
export function galleryColumns(width: number): number {
  return Math.max(1, Math.floor(width / LEAST_TILE_WIDTH));
}

/** The entries whose tiles are drawn. */
export function tilesOnScreen({ entries, columns }: RecoveredGallery, window: RowWindow): ProjectEntry[] {
  return rowsOf(entries.length, columns, window).flatMap(({ index }) => tilesOf(entries, columns, index));
}

function rowsOf(tiles: number, columns: number, window: RowWindow): { index: number; start: number }[] {
  return window.items(Math.ceil(tiles / columns)).items;
}

function tilesOf(entries: readonly ProjectEntry[], columns: number, row: number): readonly ProjectEntry[] {
  return entries.slice(row * columns, (row + 1) * columns);
}

export function recoveredGallery(
  gallery: RecoveredGallery,
  window: RowWindow,
  open: (id: string) => void,
): TemplateResult {
  const { entries, columns, of } = gallery;
  const rows = Math.ceil(entries.length / columns);
  return html`<section aria-labelledby="recovered">
    <h2 id="recovered">
      Recovered inputs and texts
      ${tag(entries.length < of ? `${entries.length} of ${of} gradients` : `${of} gradients`)}
    </h2>
    <div
      id=${GALLERY_SCROLLER}
      class="scroll recovered"
      style="height: ${Math.min(rows, 2) * TILE_ROW_HEIGHT}px"
      tabindex="0"
      role="region"
      aria-label="Recovered inputs and texts"
    >
      <div role="list" class="recovered-body" style="height: ${rows * TILE_ROW_HEIGHT}px">
        ${repeat(
          rowsOf(entries.length, columns, window),
          ({ index }) => index,
          ({ index, start }) =>
            html`<div
              role="presentation"
              class="recovered-row"
              style="top: ${start}px; grid-template-columns: repeat(${columns}, minmax(0, 1fr))"
            >
              ${tilesOf(entries, columns, index).map((entry, column) => tile(entry, index * columns + column, gallery, open))}
            </div>`,
        )}
      </div>
    </div>
  </section>`;
}

function tile(
  entry: ProjectEntry,
  at: number,
  { entries, previews }: RecoveredGallery,
  open: (id: string) => void,
): TemplateResult {
  const preview = previews.get(entry.id);
  const words = recoveredInWords(entry);
  return html`<div role="listitem" aria-setsize=${entries.length} aria-posinset=${at + 1}>
    <button
      class="recovered-tile"
      title="Show this audit: ${entry.gradients}"
      @click=${() => {
        open(entry.id);
      }}
    >
      ${guard([preview], () => contentOf(preview))}
      <span class="recovered-name">${shortName(entry.gradients)}</span>
      <span class="recovered-words">${words}</span>
    </button>
  </div>`;
}

function contentOf(preview: EntryPreview | undefined): TemplateResult {
  if (!preview || preview.pictures.length + preview.texts.length === 0) {
    return html`<span class="recovered-content muted">${preview ? 'Its files are no longer stored.' : ''}</span>`;
  }
  return html`<span class="recovered-content"
    >${preview.pictures.map((own) => previewPicture(own))}${
      preview.texts.length > 0 ? html`<q class="recovered-text">${preview.texts.join(' … ')}</q>` : nothing
    }</span
  >`;
}

/** Without the file name that every capture has; its end tells it from the others. */
function shortName(gradients: string): string {
  const parts = gradients.replace(/\/(gradients?|grads?)\.[^/]*$/, '').split('/');
  return parts.slice(-2).join('/');
}

/** Texts that are sure are among the exact inputs, and not said twice. */
function recoveredInWords({ result }: ProjectEntry): string {
  if (!result) {
    return '';
  }
  const { texts = 0 } = result;
  const others = inputsInWords({ ...result, exactInputs: Math.max(0, result.exactInputs - texts) });
  const words = [others === '' ? '' : `inputs: ${others}`, texts > 0 ? counted(texts, 'text') : ''];
  return words.filter(Boolean).join('; ');
}
