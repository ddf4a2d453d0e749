#!/usr/bin/env node
import { visible } from '../words/visible.js';
import { runCli } from './main.js';

let cancelled = false;
process.once('SIGINT', () => {
  cancelled = true;
});

void runCli(process.argv.slice(2), {
  print: (text) => process.stdout.write(visible(text)),
  printError: (text) => process.stderr.write(visible(text)),
  progress: (message) => {
    if (process.stderr.isTTY) {
      process.stderr.write(`\r\x1b[2K${visible(message).slice(0, (process.stderr.columns || 80) - 1)}`);
    }
  },
  cancelled: () => cancelled,
  columns: process.stdout.isTTY ? process.stdout.columns : undefined,
}).then((code) => {
  if (process.stderr.isTTY) {
    process.stderr.write('\r\x1b[2K');
  }
  process.exitCode = code;
});
