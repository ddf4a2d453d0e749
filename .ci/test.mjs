// npm test: sets up and runs everything: lint, types, unit (in part on other Nodes that are here), webview in a browser, end-to-end in VS Code.
import { ensureBrowser, ensureVsCode } from './editor.mjs';
import { NODES, OWN_NODE, otherNodesHere } from './machine.mjs';
import { build, ensureInstalled, run } from './setup.mjs';
import { SENSITIVE_TO_NODE, runSuite, withNode } from './suites.mjs';

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

let passed = 0;
let failed = 0;
function suite(title, script, options) {
  step(title);
  const counts = runSuite(script, options());
  if (!counts.ok) {
    console.error(`\n${title}: failed.`);
    process.exit(1);
  }
  passed += counts.passed;
  failed += counts.failed;
}

suite('unit', 'test:unit', () => ({}));
const others = otherNodesHere();
for (const major of Object.keys(NODES).map(Number)) {
  const other = others.get(major);
  if (other) {
    suite(`unit, in part, on Node ${other.version}`, 'test:unit', () => ({
      args: SENSITIVE_TO_NODE,
      env: withNode(other.path),
      name: `test-unit-in-part-node${major}`,
    }));
  } else if (major !== OWN_NODE) {
    step(
      `Node ${major} is neither on PATH nor in the cache: skipped. "npm run versions" fetches it, and runs all on it`,
    );
  }
}
suite('webview in a browser', 'test:webview', () => ({ env: { GRADLEAK_CHROMIUM: ensureBrowser() } }));
suite('end-to-end in VS Code', 'test:e2e', () => ({ env: { GRADLEAK_CHROMIUM: ensureBrowser(), ...ensureVsCode() } }));
step('done');
console.log(`\n${passed} passed, ${failed} failed`);
