import { type TemplateResult, html, nothing } from 'lit';
import type {
  DefenceCurve,
  DefenceEffort,
  DefenceLevel,
  DefenceReport,
  FollowedLeak,
  LeftPicture,
} from '../../src/protocol/defence-report.js';
import type { DefendProgress } from '../../src/protocol/defend-request.js';
import type { DefencePicture, StoredDefence } from '../../src/protocol/panel-messages.js';
import {
  WHAT_IS_LEFT,
  endInWords,
  kneeInWords,
  leftInWords,
  leftOf,
  letterOf,
  limitInWords,
} from '../../src/words/defence-words.js';
import { runningText } from '../../src/words/recovered-texts.js';
import { button } from '../ui/toolkit.js';
import { COLOURS, defenceChart, nearestPoint } from './defence-chart.js';

/** What would stop the leaks of an audit: one curve per leak over the levels of a defence, and what is left at one of them. */

export interface DefenceState {
  readonly stored: StoredDefence | undefined;
  /** Null when nothing is being tried. */
  readonly progress: DefendProgress | null;
  readonly problem: string | undefined;
  /** Index of the defence that is looked at; undefined for the first that was tried. */
  readonly curve: number | undefined;
  /** Of that defence; undefined for its weakest. */
  readonly level: number | undefined;
}

export const NO_DEFENCES: DefenceState = {
  stored: undefined,
  progress: null,
  problem: undefined,
  curve: undefined,
  level: undefined,
};

export interface DefenceActions {
  /** Undefined on a saved page. */
  tryDefences: ((effort: DefenceEffort) => void) | undefined;
  stopDefences: () => void;
  saveDefenceTable: () => void;
  saveDefenceChart: () => void;
  copyText: (text: string) => void;
  look: (choice: Pick<DefenceState, 'curve' | 'level'>) => void;
}

const MOST_TEXTS = 3;

/** @param isLeaking whether the audit found anything that a defence could stop */
export function defenceSection(
  state: DefenceState,
  isLeaking: boolean,
  actions: DefenceActions,
): TemplateResult | string {
  const { stored, progress, problem } = state;
  if (!stored && !progress && problem === undefined && !(isLeaking && actions.tryDefences)) {
    return '';
  }
  return html`<section class="defences" aria-labelledby="defences">
    <h2 id="defences">Defences</h2>
    ${problem === undefined ? '' : html`<p class="problem" role="alert">${problem}</p>`}
    ${progress ? progressView(progress, actions) : stored ? '' : offer(actions)}
    ${stored ? resultView(state, stored, actions) : ''}
  </section>`;
}

function offer({ tryDefences }: DefenceActions): TemplateResult {
  return html`<p>
      Noise, clipping, pruning, quantisation and withheld layers can be tried on this update at rising levels: what is
      left of each leak is measured.
    </p>
    ${tryDefences ? html`<div class="actions" role="toolbar" aria-label="Defences">${tries(tryDefences)}</div>` : ''}`;
}

function tries(tryDefences: (effort: DefenceEffort) => void): TemplateResult {
  return html`${button({
    label: 'Try defences',
    title: 'Try defences, quick: about half a minute, without gradient matching',
    onClick: () => {
      tryDefences('quick');
    },
  })}
  ${button({
    label: 'Try thoroughly',
    title: 'Try thoroughly: every level of every defence, which takes minutes',
    onClick: () => {
      tryDefences('thorough');
    },
  })}`;
}

function progressView({ message, fraction }: DefendProgress, { stopDefences }: DefenceActions): TemplateResult {
  const percent = Math.round(100 * fraction);
  return html`<p role="status">${message}</p>
    <progress max="100" value=${percent} aria-label="Progress of the defences">${percent} %</progress>
    <div class="actions">${button({ label: 'Stop and keep', onClick: stopDefences })}</div>`;
}

function resultView(state: DefenceState, { report, pictures }: StoredDefence, actions: DefenceActions): TemplateResult {
  const { leaks, curves, notFollowed, remarks, sentence } = report;
  const at =
    state.curve ??
    Math.max(
      curves.findIndex(({ points }) => points.length > 0),
      0,
    );
  const curve = curves[at];
  return html`
    <p>${sentence}</p>
    ${state.progress ? '' : html`<p class="muted">${endInWords(report)} ${WHAT_IS_LEFT} ${remarks.join(' ')}</p>`}
    ${
      leaks.length === 0
        ? ''
        : html`<ul class="leak-letters">
            ${leaks.map(
              (leak, index) =>
                html`<li>
                  ${letterMark(index)} ${leak.title}
                  <span class="muted">${limitInWords(leak)}</span>
                </li>`,
            )}
          </ul>`
    }
    ${notFollowed.map(({ title, why }) => html`<p class="muted">${title}: not followed. ${why}</p>`)}
    ${leaks.length > 0 ? overview(report, at, actions) : ''}
    ${curve && leaks.length > 0 ? curveView(report, curve, at, state.level, pictures, actions) : ''}
    ${
      state.progress
        ? ''
        : html`<div class="actions" role="toolbar" aria-label="Defences">
            ${actions.tryDefences ? tries(actions.tryDefences) : ''}
            ${button({ label: 'Save table', title: 'Save table (CSV, every number of it)', onClick: actions.saveDefenceTable })}
            ${curve && curve.points.length > 0 ? button({ label: 'Save chart', title: 'Save chart (PNG)', onClick: actions.saveDefenceChart }) : ''}
          </div>`
    }
  `;
}

function letterMark(at: number): TemplateResult {
  return html`<span class=${`letter letter-${at % COLOURS}`}>${letterOf(at)}</span>`;
}

/** Every defence with the level that stops each leak; a row chooses what is drawn below. */
function overview({ leaks, curves }: DefenceReport, chosen: number, { look }: DefenceActions): TemplateResult {
  return html`<table class="overview" aria-label="Where each defence stops each leak">
    <thead>
      <tr>
        <th scope="col">Defence</th>
        ${leaks.map((_, at) => html`<th scope="col">${letterOf(at)}</th>`)}
      </tr>
    </thead>
    <tbody>
      ${curves.map(
        (curve, at) =>
          html`<tr aria-current=${at === chosen ? 'true' : nothing}>
            <th scope="row">
              <button
                class="link"
                aria-pressed=${at === chosen ? 'true' : 'false'}
                @click=${() => {
                  look({ curve: at, level: undefined });
                }}
              >
                ${curve.title}
              </button>
            </th>
            ${
              curve.why === null
                ? leaks.map((_, index) => html`<td>${kneeInWords(curve, curve.knees[index])}</td>`)
                : html`<td colspan=${leaks.length}>${curve.why}</td>`
            }
          </tr>`,
      )}
    </tbody>
  </table>`;
}

function curveView(
  { leaks }: DefenceReport,
  curve: DefenceCurve,
  at: number,
  wanted: number | undefined,
  pictures: readonly DefencePicture[],
  actions: DefenceActions,
): TemplateResult {
  const point = nearestPoint(curve.points, (level) => Math.abs(level - (wanted ?? 0)));
  const level = point && curve.levels[point.level];
  if (!point || !level) {
    return html`<h3>${curve.title}</h3>
      <p>${curve.why ?? 'No level was tried.'}</p>`;
  }
  const onLevel = (own: number): void => {
    actions.look({ curve: at, level: own });
  };
  const place = curve.points.indexOf(point);
  return html`
    <h3>${curve.title}</h3>
    <p>${curve.explanation}</p>
    ${curve.knees.map(({ sentence }, index) => html`<p class="muted">${letterOf(index)}: ${sentence}</p>`)}
    <div class="chart-scroll">${defenceChart({ curve, leaks, level: point.level, onLevel })}</div>
    <label class="level">
      <span>Level</span>
      <input
        type="range"
        min="0"
        max=${curve.points.length - 1}
        step="1"
        .value=${String(place)}
        aria-valuetext=${level.name}
        @input=${(event: Event) => {
          onLevel(curve.points[Number((event.target as HTMLInputElement).value)]?.level ?? point.level);
        }}
      />
      <output>${level.name}</output>
    </label>
    ${level.also === null ? '' : html`<p class="muted">That is ${level.also}.</p>`}
    <div class="left-overs">${leaks.map((leak, index) => leftView(curve, point.level, leak, index, pictures))}</div>
    ${settingsView(level, actions)} ${levelsTable(curve, leaks, point.level)}
  `;
}

function leftView(
  curve: DefenceCurve,
  level: number,
  leak: FollowedLeak,
  at: number,
  pictures: readonly DefencePicture[],
): TemplateResult {
  const own = leftOf(curve, level, leak.id);
  return html`<article class="left-over" aria-label=${leak.title}>
    <p>
      ${letterMark(at)} <strong>${leftInWords(own, leak)}</strong>
      <span class="muted">${own?.detail ?? 'Other levels tell it.'}</span>
    </p>
    ${
      leak.shown === null
        ? ''
        : html`<div class="before-after">
            ${shownView(leak.shown, 'Undefended', pictures)}
            ${own?.shown ? shownView(own.shown, 'Left at this level', pictures) : noneView()}
          </div>`
    }
  </article>`;
}

function shownView(shown: LeftPicture, caption: string, pictures: readonly DefencePicture[]): TemplateResult {
  if (shown.type === 'texts') {
    const { texts } = shown;
    return html`<figure class="left-text">
      <figcaption>${caption}</figcaption>
      ${texts.slice(0, MOST_TEXTS).map((text) => html`<p class="running-text">${runningText(text, shown)}</p>`)}
      ${texts.length > MOST_TEXTS ? html`<p class="muted">and ${texts.length - MOST_TEXTS} more</p>` : ''}
    </figure>`;
  }
  const own = pictures.find(({ file }) => file === shown.file);
  return own
    ? html`<figure class="picture">
        <img class="preview" src=${`data:image/png;base64,${own.png}`} alt=${`${caption}: ${shown.title}`} />
        <figcaption>${caption}</figcaption>
      </figure>`
    : noneView('The picture is not stored.');
}

function noneView(why = 'No guess at this level.'): TemplateResult {
  return html`<p class="none muted">${why}</p>`;
}

function settingsView({ settings, privacy }: DefenceLevel, { copyText }: DefenceActions): TemplateResult | string {
  if (settings.length === 0 && privacy.length === 0) {
    return '';
  }
  return html`<details class="settings">
    <summary>Settings of this level to copy, and what it promises</summary>
    ${settings.map(
      ({ library, note, code }) => html`
        <h4>${library}</h4>
        <p>${note}</p>
        <pre tabindex="0" aria-label=${`Lines for ${library}`}><code>${code}</code></pre>
        ${button({
          label: 'Copy',
          title: `Copy the lines for ${library}`,
          onClick: () => {
            copyText(code);
          },
        })}
      `,
    )}
    ${
      privacy.length === 0
        ? ''
        : html`<h4>Privacy statement</h4>
            ${privacy.map((own) => html`<p>${own}</p>`)}`
    }
  </details>`;
}

function levelsTable(curve: DefenceCurve, leaks: readonly FollowedLeak[], chosen: number): TemplateResult {
  return html`<table aria-label=${`What is left, level by level: ${curve.title}`}>
    <thead>
      <tr>
        <th scope="col">Level</th>
        ${leaks.map((leak, at) => html`<th scope="col">${letterOf(at)}: ${leak.title}</th>`)}
      </tr>
    </thead>
    <tbody>
      ${curve.points.map(
        ({ level }) =>
          html`<tr aria-current=${level === chosen ? 'true' : nothing}>
            <th scope="row">${curve.levels[level]?.name ?? ''}</th>
            ${leaks.map((leak) => html`<td>${leftInWords(leftOf(curve, level, leak.id), leak)}</td>`)}
          </tr>`,
      )}
    </tbody>
  </table>`;
}
