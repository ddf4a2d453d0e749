// npm test: sets up and runs everything: lint, types, unit, webview in a browser, end-to-end in VS Code.
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ensureBrowser, ensureVsCode } from './editor.mjs';
import { ROOT, build, ensureInstalled, run } from './setup.mjs';

const started = Date.now();
const step = (title) => console.log(`\n== ${title} (${Math.round((Date.now() - started) / 1000)} s)`);

step('setup');
ensureInstalled();
step('lint and format');
run('npm', ['run', '--silent', 'lint']);
step('types');
run('npm', ['run', '--silent', 'types']);
step('report schema is current');
run(process.execPath, ['.ci/schema.mjs', '--check']);
step('build');
build();

const suites = [
  ['unit', 'test:unit', {}],
  ['webview in a browser', 'test:webview', () => ({ GRADLEAK_CHROMIUM: ensureBrowser() })],
  ['end-to-end in VS Code', 'test:e2e', () => ({ GRADLEAK_CHROMIUM: ensureBrowser(), ...ensureVsCode() })],
];
let passed = 0;
let failed = 0;
for (const [title, script, environment] of suites) {
  step(title);
  const results = join(ROOT, 'out', `${script.replace(':', '-')}.json`);
  rmSync(results, { force: true });
  const env = { ...process.env, ...(typeof environment === 'function' ? environment() : environment) };
  run(
    'npm',
    ['run', '--silent', script, '--', '--reporter=default', '--reporter=json', `--outputFile.json=${results}`],
    { env },
  );
  const { numPassedTests, numFailedTests } = JSON.parse(readFileSync(results, 'utf8'));
  passed += numPassedTests;
  failed += numFailedTests;
}
step('done');
console.log(`\n${passed} passed, ${failed} failed`);
