// npm run engines [-- tfjs-node|webgpu]: the engines' tests on engines that are not everywhere. TensorFlow.js for Node is compiled where its
// own install step cannot download; WebGPU runs on a driver in software where there is no GPU.
import { join } from 'node:path';
import { ROOT, build, ensureInstalled, runProgram } from './setup.mjs';
import { runSuite } from './suites.mjs';
import { ensureVulkan } from './vulkan.mjs';

const runs = { 'tfjs-node': onTfjsNode, webgpu: onWebGpu };
const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !(name in runs));
if (unknown.length > 0) {
  console.error(`${unknown.join(', ')}: no such engine. There are ${Object.keys(runs).join(', ')}.`);
  process.exit(1);
}

ensureInstalled();
const rows = [];
for (const name of asked.length > 0 ? asked : Object.keys(runs)) {
  console.log(`\n== ${name}`);
  rows.push(...(await runs[name]()));
}
console.log();
for (const { what, passed, failed } of rows) {
  console.log(`${what}: ${passed} passed, ${failed} failed`);
}
process.exit(rows.every(({ ok }) => ok) ? 0 : 1);

async function onTfjsNode() {
  await runProgram('test/engines/tfjs-node.ts', 'out/engines/tfjs-node.cjs', []);
  return [operationsOn('tfjs-node', 'tfjs-node', { GRADLEAK_TFJS_FOLDER: join(ROOT, 'out', 'tfjs-node') })];
}

async function onWebGpu() {
  build();
  const { name, env } = await ensureVulkan();
  const engine = 'onnxruntime-webgpu';
  return [
    operationsOn(engine, `${engine}, ${name}`, env),
    { what: `${engine} without the CPU's help`, ...runSuite('test:engines', { env }) },
  ];
}

/** First and second derivatives of every operation, and of whole networks. */
function operationsOn(engine, what, env) {
  return {
    what,
    ...runSuite('test:unit', {
      args: ['test/unit/graph/operations.test.ts', 'test/unit/graph/second-order.test.ts', '-t', engine],
      env: { ...env, GRADLEAK_ENGINE_UNDER_TEST: engine },
      name: `test-${engine}`,
    }),
  };
}
