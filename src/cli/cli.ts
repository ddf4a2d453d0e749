#!/usr/bin/env node
import { runCli } from './main.js';

let cancelled = false;
process.once('SIGINT', () => {
  cancelled = true;
});

void runCli(process.argv.slice(2), {
  print: (text) => process.stdout.write(text),
  printError: (text) => process.stderr.write(text),
  cancelled: () => cancelled,
  columns: process.stdout.isTTY ? process.stdout.columns : undefined,
}).then((code) => {
  process.exitCode = code;
});
