import { type TemplateResult, html, nothing } from 'lit';
import { guard } from 'lit/directives/guard.js';
import type { RecoveredText, RecoveredToken, TextsDetail } from '../../src/protocol/detail.js';
import {
  headingOf,
  hintOf,
  runningText,
  segmentsOf,
  sourceInWords,
  uncertainInWords,
} from '../../src/words/recovered-texts.js';
import { visibleOnPage } from '../../src/words/visible.js';
import { button, tag } from '../ui/toolkit.js';
import { TokenHints } from './token-hints.js';

/** Recovered texts, one below the other; what is uncertain in them is underlined and tells what else it could be. */

export interface TextActions {
  copyText: (text: string) => void;
  /** All texts of the report. */
  copyTexts: () => void;
  saveTexts: () => void;
}

export function textsView(detail: TextsDetail, actions: TextActions): TemplateResult {
  const isSure = detail.texts.every((text) => uncertainInWords(text) === undefined);
  return html`
    <p>
      ${sourceInWords(detail)}
      ${isSure ? '' : 'Underlined tokens are uncertain: point at one, or go to it with Tab and the arrow keys, to see what else it could be.'}
    </p>
    <div class="actions" role="toolbar" aria-label="All texts">
      ${button({ label: 'Copy all texts', onClick: actions.copyTexts })}
      ${button({ label: 'Save texts', title: 'Save texts (.txt, all of them)', onClick: actions.saveTexts })}
    </div>
    ${guard([detail], () => textList(detail, actions))}
  `;
}

function textList(detail: TextsDetail, { copyText }: TextActions): TemplateResult {
  const hints = new TokenHints();
  return html`<div
    class="texts"
    tabindex="0"
    role="region"
    aria-label="Texts"
    @pointerover=${hints.point}
    @pointerleave=${hints.leave}
    @focusin=${hints.focus}
    @focusout=${hints.blur}
    @keydown=${hints.key}
  >
    ${detail.texts.map((text) => textView(text, detail, copyText))}
    <div class="token-hint" role="tooltip" hidden></div>
  </div>`;
}

function textView(text: RecoveredText, detail: TextsDetail, copyText: TextActions['copyText']): TemplateResult {
  const uncertain = uncertainInWords(text);
  const segments = segmentsOf(text, detail);
  const first = segments.find((segment) => segment.uncertain);
  // Inline, because nothing may stand around what is set with its own blanks.
  return html`<article class="text" aria-label=${headingOf(text)}>
    <div class="text-head">
      <h4>${text.title}</h4>
      ${text.label === undefined ? '' : tag(visibleOnPage(text.label))} ${uncertain === undefined ? '' : tag(uncertain)}
      ${button({
        label: 'Copy text',
        title: `Copy text: ${text.title}`,
        onClick: () => {
          copyText(runningText(text, detail));
        },
      })}
    </div>
    <span class="running-text"
      >${segments.map(({ text: own, uncertain: token }) => (token ? uncertainToken(own, token, token === first?.uncertain) : own))}</span
    >
  </article>`;
}

/** Of a text's tokens the Tab key goes to one; arrow keys go on from there. */
function uncertainToken(text: string, token: RecoveredToken, isFirst: boolean): TemplateResult {
  return html`<mark
    class="uncertain"
    tabindex=${isFirst ? 0 : -1}
    data-hint=${hintOf(token)}
    data-sign=${SIGNS.get(text) ?? nothing}
    >${text}</mark
  >`;
}

/** What is drawn of tokens that nothing is seen of. */
const SIGNS = new Map([
  ['', '◌'],
  ['\n', '↵'],
  ['\n\n', '↵↵'],
  [' ', '␣'],
]);
