import { join } from 'node:path';
import { buildTfjsNode } from '../../src/engine/build-tfjs-node.js';
import { makeEngine } from '../../src/engine/make-engine.js';
import { checkEngine } from '../../src/engine/check.js';

/** `npm run engines`: compiles TensorFlow.js for Node against PyPI's tensorflow, and checks that it computes. */

async function main(): Promise<void> {
  const folder = await buildTfjsNode({
    id: 'tfjs-node',
    folder: join(process.cwd(), 'out', 'tfjs-node'),
    python: process.env.GRADLEAK_PYTHON ?? 'python3',
    say: (line) => {
      console.log(line);
    },
  });
  const engine = await makeEngine('tfjs-node', { tfjsFolder: folder });
  await checkEngine(engine);
  console.log(`${engine.description}: computes a second-order derivative as it is.`);
  await engine.dispose();
}

void main();
