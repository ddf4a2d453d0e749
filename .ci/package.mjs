// Packages the extension for one platform: `npm run package -- [target]`, such as linux-x64; this machine's by default.
import { cpSync, existsSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, build, run } from './setup.mjs';

const target = process.argv[2] ?? `${process.platform}-${process.arch}`;
const [platform, arch] = target.split('-');
const modules = join(ROOT, 'node_modules');
const native = join(ROOT, 'dist', 'native', 'node_modules');

build();
rmSync(native, { recursive: true, force: true });
// npm-installed binaries cover every platform; one VSIX takes those of its own, and none where there are none.
const bin = join(modules, 'onnxruntime-node', 'bin');
const version = readdirSync(bin)[0];
const own = join(bin, version, platform, arch);
if (existsSync(own)) {
  for (const name of ['onnxruntime-node', 'onnxruntime-common']) {
    cpSync(join(modules, name, 'package.json'), join(native, name, 'package.json'));
    cpSync(join(modules, name, 'dist'), join(native, name, 'dist'), {
      recursive: true,
      filter: (path) => !/\.(map|d\.ts)$|[\\/](esm|ort.*)$/.test(path),
    });
  }
  cpSync(own, join(native, 'onnxruntime-node', 'bin', version, platform, arch), { recursive: true });
  const { main } = JSON.parse(readFileSync(join(modules, 'onnxruntime-node', 'package.json'), 'utf8'));
  if (!existsSync(join(native, 'onnxruntime-node', main))) {
    console.error('onnxruntime-node has changed its layout: see .ci/package.mjs.');
    process.exit(1);
  }
} else {
  console.log(`onnxruntime-node has no binaries for ${target}; the engine there is WebAssembly.`);
}
const { version: released } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
const file = join('out', `gradleak-${target}-${released}.vsix`);
run('npx', ['vsce', 'package', '--no-dependencies', '--target', target, '--out', file]);
