// npm run engines: compiles TensorFlow.js for Node where its own install step cannot download, then runs the engines' tests on it.
import { join } from 'node:path';
import { ROOT, ensureInstalled, run, runProgram } from './setup.mjs';

ensureInstalled();
await runProgram('test/engines/tfjs-node.ts', 'out/engines/tfjs-node.cjs', []);
run('npx', ['vitest', 'run', 'test/unit/graph/operations.test.ts', 'test/unit/graph/second-order.test.ts'], {
  env: { ...process.env, GRADLEAK_TFJS_FOLDER: join(ROOT, 'out', 'tfjs-node') },
});
