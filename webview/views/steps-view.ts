import { type TemplateResult, html } from 'lit';
import type { NextStep } from '../../src/protocol/next-steps.js';
import { stepsForEditor } from '../../src/words/next-steps.js';
import { button } from '../ui/toolkit.js';

/** What can be done next, as buttons; nothing where there is no host to do it. */
export function stepsView(
  steps: readonly NextStep[],
  take: ((step: NextStep) => void) | undefined,
): TemplateResult | string {
  const buttons = take ? stepsForEditor(steps) : [];
  return buttons.length === 0
    ? ''
    : html`<div class="actions" role="toolbar" aria-label="Next steps">
        ${buttons.map(({ step, label }, index) => button({ label, primary: index === 0, onClick: () => take?.(step) }))}
      </div>`;
}
