import inspectorSchema from '../protocol/from-inspector.schema.json';
import panelSchema from '../protocol/from-panel.schema.json';
import summarySchema from '../protocol/from-summary.schema.json';
import stateSchema from '../protocol/panel-state.schema.json';
import { type Validator, validatorOf } from '../formats/json-file.js';
import type { FromInspector } from '../protocol/inspector-messages.js';
import type { FromPanel, PanelState } from '../protocol/panel-messages.js';
import type { FromSummary } from '../protocol/summary-messages.js';
import type { Log } from './log.js';

/** What views send is checked when it comes in: a page that was taken over can post anything. */

export const FROM_PANEL = validatorOf<FromPanel>(panelSchema);
export const FROM_INSPECTOR = validatorOf<FromInspector>(inspectorSchema);
export const FROM_SUMMARY = validatorOf<FromSummary>(summarySchema);
const PANEL_STATE = validatorOf<PanelState>(stateSchema);

/** Longer lists of allowed values tell nothing. */
const MOST_LOGGED = 300;

/** A webview, as far as its messages go. */
interface View {
  readonly onDidReceiveMessage: (listener: (message: unknown) => unknown) => { dispose(): unknown };
}

/**
 * Passes on the messages of a view that are of its type. Any other is dropped, and so is what an action throws; each leaves
 * a line in the log.
 *
 * @param view its name in the log
 */
export function onViewMessage<T>(
  webview: View,
  { validator, view, log }: { validator: Validator<T>; view: string; log: Log },
  act: (message: T) => void | Promise<void>,
): { dispose(): unknown } {
  return webview.onDidReceiveMessage(async (message: unknown) => {
    if (!validator.is(message)) {
      log.warn(`A message of the ${view} was dropped: found ${validator.problem().slice(0, MOST_LOGGED)}.`);
      return;
    }
    try {
      await act(message);
    } catch (error) {
      log.error(error);
    }
  });
}

/** The audit of a panel that is restored; empty where what was kept is not of its type. */
export function keptAuditId(state: unknown): string {
  return PANEL_STATE.is(state) ? state.auditId : '';
}
