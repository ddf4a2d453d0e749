#!/usr/bin/env node
import { runCli } from './main.js';

let cancelled = false;
process.once('SIGINT', () => {
  cancelled = true;
});

void runCli(process.argv.slice(2), {
  print: (text) => process.stdout.write(text),
  printError: (text) => process.stderr.write(text),
  progress: (message) => {
    if (process.stderr.isTTY) {
      process.stderr.write(`\r\x1b[2K${message.slice(0, (process.stderr.columns || 80) - 1)}`);
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
