import { type TemplateResult, html } from 'lit';
import type { CapturingLine } from '../../src/protocol/panel-messages.js';
import type { Report } from '../../src/protocol/report.js';
import { baseName } from '../../src/words/report-words.js';
import { scriptLink } from './script-link.js';

/** What was audited, with the ways to it. */

export interface Ways {
  inspectGradient: () => void;
  inspectCheckpoint: () => void;
  changeCheckpoint: () => void;
  /** Undefined where the notes name no line. */
  script: CapturingLine | undefined;
  openScript: () => void;
}

export function filesLine({ inputs }: Report, ways: Ways | undefined): TemplateResult {
  const gradient = baseName(inputs.gradients.path);
  const checkpoint = inputs.checkpoint && baseName(inputs.checkpoint.path);
  if (!ways) {
    return html`${gradient} ${checkpoint === null ? 'without a checkpoint' : `against ${checkpoint}`}`;
  }
  const { script } = ways;
  return html`${link(gradient, 'Inspect the gradient’s tensors', ways.inspectGradient)}
  ${
    checkpoint === null
      ? 'without a checkpoint'
      : html`against ${link(checkpoint, 'Inspect the checkpoint’s tensors', ways.inspectCheckpoint)}`
  }
  (${link('Change', 'Change the checkpoint: choose another and audit again', ways.changeCheckpoint)})${
    script
      ? html` · captured at ${scriptLink(script, { isLive: true, why: script.why ?? undefined, open: ways.openScript })}`
      : ''
  }`;
}

function link(label: string, title: string, onClick: () => void): TemplateResult {
  return html`<button class="link" title=${title} @click=${onClick}>${label}</button>`;
}
