import type * as vscode from 'vscode';
import { visible } from '../words/visible.js';

/** The log channel, for text that may hold what files say. */
export interface Log {
  info(text: string): void;
  warn(text: string): void;
  /** @param error anything that was thrown */
  error(error: unknown): void;
}

/** @param channel where each text is one entry, whose further lines are indented: none passes for an entry of its own */
export function visibleLog(channel: Pick<vscode.LogOutputChannel, 'info' | 'warn' | 'error'>): Log {
  const shown = (text: string): string => visible(text).replaceAll('\n', '\n    ');
  return {
    info: (text) => {
      channel.info(shown(text));
    },
    warn: (text) => {
      channel.warn(shown(text));
    },
    error: (error) => {
      channel.error(shown(error instanceof Error ? (error.stack ?? error.message) : String(error)));
    },
  };
}
