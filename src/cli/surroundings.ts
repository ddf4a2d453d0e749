import { READING_STAGES } from '../protocol/audit-request.js';
import type { Reading } from '../protocol/deadlines.js';
import { CancelledError } from '../protocol/errors.js';
import type { AuditHooks } from '../facts/hooks.js';

/** What a run of the command needs of its surroundings; tests give their own. */
export interface CliSurroundings {
  readonly print: (text: string) => void;
  readonly printError: (text: string) => void;
  /** True once the user has asked to stop. */
  readonly cancelled: () => boolean;
  /** Called by what ends its own children when it is asked to stop, and may take longer than others. */
  readonly endsItself?: () => void;
  /** Called before what a file can hold up for ever, and with null after it. */
  readonly reading?: (reading: { path: string; what: Reading } | null) => void;
  /** A line that the next one replaces; nothing when nobody watches. */
  readonly progress: (message: string) => void;
  /** Columns of the terminal, undefined when the output is not one. */
  readonly columns: number | undefined;
}

/** What an audit in this process tells and asks. */
export function hooksOf({ progress, cancelled, reading }: CliSurroundings): AuditHooks {
  let isRead = false;
  return {
    progress: ({ message, stage }) => {
      if (!isRead && !READING_STAGES.includes(stage)) {
        isRead = true;
        reading?.(null);
      }
      progress(message);
    },
    async pause() {
      await new Promise<void>((resolve) => {
        setImmediate(resolve);
      });
      if (cancelled()) {
        throw new CancelledError();
      }
    },
  };
}
