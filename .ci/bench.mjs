// npm run bench: the figures of docs/benchmarks.md, each as a ratio or beside a reference of the same run.
import { build, ensureInstalled, runProgram } from './setup.mjs';

ensureInstalled();
build();
await runProgram('test/bench/bench.ts', 'out/bench.cjs', process.argv.slice(2), [
  'playwright-core',
  'pg',
  'redis',
  'bullmq-otel',
]);
