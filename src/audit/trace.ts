import { closeSync, openSync, writeSync } from 'node:fs';
import type { AuditRequest } from '../protocol/audit-request.js';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import type { FactEvent } from '../facts/facts.js';
import type { MethodReport } from '../protocol/report.js';
import { TOOL_VERSION } from './version.js';

/** What an audit saw and decided, for whoever looks into a dump that it judges strangely. No tensor's numbers are in it. */

export type TraceEvent = FactEvent | MethodEvent;

export interface MethodEvent {
  readonly method: string;
  /** True, or why not; null where another method reads what this one would. */
  readonly applies: true | string | null;
  readonly outcome?: MethodReport['outcome'];
  readonly detail?: string;
  readonly leaks?: number;
  readonly milliseconds: number;
}

export interface TraceFile {
  write(event: TraceEvent): void;
  close(): void;
}

/**
 * One line of JSON per event, written at once: a crash leaves what came before it.
 *
 * @throws UnusableInputError when the file is there already, unless the request says `force`, or cannot be made
 */
export function openTrace({ trace, force, ...request }: AuditRequest): TraceFile | undefined {
  if (trace === undefined) {
    return undefined;
  }
  let file: number;
  try {
    file = openSync(trace, force === true ? 'w' : 'wx');
  } catch (error) {
    throw new UnusableInputError({
      code: 'would-overwrite',
      file: trace,
      found: messageOf(error),
      expected: 'a new file to write the trace to',
      advice: 'Choose another file for the trace, or replace it.',
      next: ['replace-output'],
    });
  }
  const line = (value: object): void => {
    writeSync(file, `${JSON.stringify(value, asNumber)}\n`);
  };
  line({ tool: TOOL_VERSION, node: process.version, platform: `${process.platform}-${process.arch}`, request });
  return {
    write: line,
    close: () => {
      closeSync(file);
    },
  };
}

/** JSON has no word for what is not a number. */
function asNumber(_key: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
}
