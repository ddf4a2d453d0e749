// Packages the extension for one platform: `npm run package -- [target]`, such as linux-x64; this machine's by default.
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { noticesOf, packagesOf } from './notices.mjs';
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
const shipped = existsSync(own) ? ['onnxruntime-common', 'onnxruntime-node'] : [];
if (shipped.length > 0) {
  for (const name of shipped) {
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
try {
  const bundled = JSON.parse(readFileSync(join(ROOT, 'dist', 'bundled.json'), 'utf8'));
  const packages = [...packagesOf(bundled), ...shipped.map((name) => `node_modules/${name}`)];
  writeFileSync(join(ROOT, 'dist', 'THIRD-PARTY-NOTICES.txt'), `${noticesOf(packages)}\n`);
} catch (error) {
  console.error(`Not packaged: ${error.message}`);
  process.exit(1);
}
const { version: released } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
mkdirSync(join(ROOT, 'out'), { recursive: true });
const file = join('out', `gradleak-${target}-${released}.vsix`);
run('npx', ['vsce', 'package', '--no-dependencies', '--target', target, '--out', file]);
