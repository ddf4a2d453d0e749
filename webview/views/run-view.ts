import { type TemplateResult, html } from 'lit';
import type { AuditProgress } from '../../src/protocol/audit-request.js';
import { button } from '../ui/toolkit.js';
import { type Curve, lossCurve } from './loss-curve.js';

/** An audit that runs: where it stands, the picture so far, and a way to stop and keep it. */

export interface RunState {
  readonly progress: AuditProgress;
  /** The newest preview, PNG in base64. */
  readonly preview: string | undefined;
  readonly curves: readonly Curve[];
}

export function runView({ progress, preview, curves }: RunState, onStop: () => void): TemplateResult {
  const percent = Math.round(100 * progress.fraction);
  return html`
    <header class="verdict verdict-run">
      <p class="verdict-tag">Running</p>
      <h1>
        ${progress.reconstruction || preview !== undefined ? 'Reconstructing the input' : 'Auditing the gradient'}
      </h1>
      <p role="status">${progress.message}</p>
      <progress max="100" value=${percent} aria-label="Progress of the audit">${percent} %</progress>
      <div class="actions">${button({ label: 'Stop and keep', onClick: onStop })}</div>
    </header>
    ${
      preview === undefined
        ? ''
        : html`<div class="pictures">
            <figure class="picture">
              <img class="preview" src=${`data:image/png;base64,${preview}`} alt="The reconstruction so far" />
              <figcaption>${progress.reconstruction?.caption ?? 'So far'}</figcaption>
            </figure>
          </div>`
    }
    ${
      curves.some(({ loss }) => loss.length > 1)
        ? html`<h2>Matching loss</h2>
            ${lossCurve(curves)}`
        : ''
    }
  `;
}

/** The state after one more message. */
export function advance(state: RunState | undefined, progress: AuditProgress): RunState {
  const own = progress.reconstruction;
  const curves = (state?.curves ?? []).map(({ iteration, loss }) => ({ iteration: [...iteration], loss: [...loss] }));
  if (own && own.loss !== null) {
    const curve = (curves[own.restart] ??= { iteration: [], loss: [] });
    curve.iteration.push(own.iteration);
    curve.loss.push(own.loss);
  }
  return {
    progress,
    preview: own?.preview ?? state?.preview,
    curves: [...curves].map((curve) => (curve as Curve | undefined) ?? { iteration: [], loss: [] }),
  };
}
