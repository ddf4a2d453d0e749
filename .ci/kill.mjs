// npm run kill [-- COUNT [SEED]]: audits that are killed or interrupted at random times, then run again to their end.
import { build, ensureInstalled, runProgram } from './setup.mjs';

ensureInstalled();
build();
await runProgram('test/kill/kill.ts', 'out/kill/kill.mjs', process.argv.slice(2));
