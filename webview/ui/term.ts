import { type TemplateResult, html } from 'lit';
import { explanationOfTerm } from '../../src/words/terms.js';

/** A word that explains itself: where the pointer or the keyboard is on it, until Escape. */

const ID = 'term-hint';

/** @param hint what is shown; by default what is known of the word, and the word alone where nothing is */
export function term(name: string, hint = explanationOfTerm(name)): TemplateResult | string {
  return hint === undefined || hint === ''
    ? name
    : html`<span
        class="term"
        tabindex="0"
        data-explanation=${hint}
        @pointerenter=${show}
        @focus=${show}
        @pointerleave=${hide}
        @blur=${hide}
        >${name}</span
      >`;
}

function show({ currentTarget }: Event): void {
  if (!(currentTarget instanceof HTMLElement)) {
    return;
  }
  hide();
  const hint = document.createElement('div');
  hint.id = ID;
  hint.className = 'term-hint';
  hint.setAttribute('role', 'tooltip');
  hint.textContent = currentTarget.dataset.explanation ?? '';
  document.body.append(hint);
  currentTarget.setAttribute('aria-describedby', ID);
  place();
  document.addEventListener('keydown', hideOnEscape);
  // The focus itself scrolls a word into view.
  document.addEventListener('scroll', place, true);
}

function hide(): void {
  document.getElementById(ID)?.remove();
  explained()?.removeAttribute('aria-describedby');
  document.removeEventListener('keydown', hideOnEscape);
  document.removeEventListener('scroll', place, true);
}

function explained(): Element | null {
  return document.querySelector(`[aria-describedby="${ID}"]`);
}

function hideOnEscape({ key }: KeyboardEvent): void {
  if (key === 'Escape') {
    hide();
  }
}

/** Below the word, or above it where there is no room below, within the window. */
function place(): void {
  const [hint, word] = [document.getElementById(ID), explained()?.getBoundingClientRect()];
  if (!hint || !word) {
    return;
  }
  const isAbove = word.bottom + hint.offsetHeight + 4 > window.innerHeight && word.top > hint.offsetHeight + 4;
  hint.style.top = `${isAbove ? word.top - hint.offsetHeight - 4 : word.bottom + 4}px`;
  hint.style.left = `${Math.max(0, Math.min(word.left, window.innerWidth - hint.offsetWidth - 8))}px`;
}
