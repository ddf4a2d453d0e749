// npm start: sets up, runs the main job on the bundled example, and opens VS Code on it where there is one.
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, build, ensureInstalled, run } from './setup.mjs';

ensureInstalled();
build();
const example = join('media', 'example');
const out = join('out', 'example');
mkdirSync(join(ROOT, out), { recursive: true });
run(process.execPath, [
  'dist/cli.js',
  'audit',
  example,
  '--truth',
  join(example, 'truth.json'),
  '--out',
  out,
  '--html',
  // A folder of this checkout, which an earlier version may have filled.
  '--force',
]);
console.log(`\nThe same as a page:  ${join(ROOT, out, 'report.html')}`);

const hasCode = spawnSync('code', ['--version'], { stdio: 'ignore', shell: process.platform === 'win32' }).status === 0;
if (hasCode) {
  console.log('Opening VS Code on the example: run "GradLeak: Audit Gradient File..." there.');
  spawnSync('code', [`--extensionDevelopmentPath=${ROOT}`, join(ROOT, example)], {
    stdio: 'inherit',
    shell: process.platform === 'win32',
  });
} else {
  console.log(
    `In VS Code:          code --extensionDevelopmentPath=${ROOT} ${join(ROOT, example)}   ("code" is not on the PATH here)`,
  );
}
