import { type TemplateResult, html } from 'lit';
import { baseName } from '../../src/words/report-words.js';

/** The way to the line that captured a gradient. */

export interface ScriptLink {
  /** False on a saved page, where nothing can be opened. */
  readonly isLive: boolean;
  /** Why the host does not open it; undefined where it does. */
  readonly why: string | undefined;
  readonly open: () => void;
}

export function scriptLink(
  { file, line }: { file: string; line: number },
  { isLive, why, open }: ScriptLink,
): TemplateResult {
  const name = `${baseName(file)}:${line}`;
  if (!isLive) {
    return html`<span class="muted">${name}</span>`;
  }
  return why === undefined
    ? html`<button class="link" title="Go to the line that captured it" @click=${open}>${name}</button>`
    : html`<button class="link" disabled title=${why}>${name}</button> <span class="muted">${why}</span>`;
}
