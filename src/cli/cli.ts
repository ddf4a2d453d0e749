#!/usr/bin/env node
import { visible } from '../words/visible.js';
import { runCli } from './main.js';
import { SUPERVISED, type Told, supervise } from './supervise.js';

/** Commands that read files of unknown origin. */
const READING: readonly (string | undefined)[] = [
  'audit',
  'compare',
  'defend',
  'inspect',
  'merge',
  'minimise',
  'plan',
  'queue',
];

/** Commands that tell what they found until they were stopped. */
const TELLS_WHAT_IT_HAS: ReadonlySet<string> = new Set(['audit', 'defend']);

function tell(told: Told): void {
  process.send?.(told);
}

function run(args: readonly string[]): Promise<number> {
  let cancelled = false;
  let hasHeard = false;
  process.on('SIGINT', () => {
    cancelled = true;
  });
  // Without its parent nobody waits for it.
  process.on('disconnect', () => process.exit(1));
  return runCli(args, {
    print: (text) => process.stdout.write(visible(text)),
    printError: (text) => process.stderr.write(visible(text)),
    progress: (message) => {
      if (process.stderr.isTTY) {
        process.stderr.write(`\r\x1b[2K${visible(message).slice(0, (process.stderr.columns || 80) - 1)}`);
      }
    },
    cancelled: () => {
      if (cancelled && !hasHeard && TELLS_WHAT_IT_HAS.has(args[0] ?? '')) {
        hasHeard = true;
        tell({ heard: true });
      }
      return cancelled;
    },
    endsItself: () => {
      tell({ patience: true });
    },
    reading: (reading) => {
      tell({ reading });
    },
    columns: process.stdout.isTTY ? process.stdout.columns : undefined,
  });
}

const args = process.argv.slice(2);
const isChild = process.env[SUPERVISED] !== undefined;
void (isChild || !READING.includes(args[0]) ? run(args) : supervise(__filename, args)).then((code) => {
  if (process.stderr.isTTY && !isChild) {
    process.stderr.write('\r\x1b[2K');
  }
  process.exitCode = code;
  if (process.connected) {
    // The channel to the parent would keep it alive.
    process.removeAllListeners('disconnect');
    process.disconnect();
  }
});
