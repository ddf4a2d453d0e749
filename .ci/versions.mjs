// npm run versions [-- NAME...]: unit tests on the other Nodes that package.json allows, end-to-end tests in the newest VS Code.
// Without names it runs what npm test does not run on this machine; names are node20, node22, node24, oldest-vscode, newest-vscode.
import { spawnSync } from 'node:child_process';
import { ensureBrowser, ensureVsCode, VSCODES } from './editor.mjs';
import { NODES, OWN_NODE, ensureNode, versionOf } from './machine.mjs';
import { ROOT, build, ensureInstalled } from './setup.mjs';
import { runSuite, withNode } from './suites.mjs';

const runs = {
  ...Object.fromEntries(Object.keys(NODES).map((major) => [`node${major}`, () => onNode(Number(major))])),
  ...Object.fromEntries(Object.keys(VSCODES).map((age) => [`${age}-vscode`, () => inVsCode(age)])),
};
const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !(name in runs));
if (unknown.length > 0) {
  console.error(`${unknown.join(', ')}: no such version. There are ${Object.keys(runs).join(', ')}.`);
  process.exit(1);
}
const inNpmTest = [`node${OWN_NODE}`, 'oldest-vscode'];
const names = asked.length > 0 ? asked : Object.keys(runs).filter((name) => !inNpmTest.includes(name));

ensureInstalled();
const rows = [];
for (const name of names) {
  const started = Date.now();
  console.log(`\n== ${name}`);
  rows.push({ ...runs[name](), minutes: (Date.now() - started) / 60_000 });
}
if (names.some((name) => name !== `node${OWN_NODE}`)) {
  // dist/ is of this machine's Node again.
  build();
}
print(rows);
process.exit(rows.every(({ ok }) => ok) ? 0 : 1);

/** Types, build and all unit tests. */
function onNode(major) {
  const node = ensureNode(major);
  const env = withNode(node);
  const what = 'types, build, unit tests';
  const version = `Node ${versionOf(node)}`;
  for (const [step, command, args] of [
    ['types', 'npm', ['run', '--silent', 'types']],
    ['build', node, ['esbuild.mjs', '--production']],
  ]) {
    if (!succeeds(command, args, env)) {
      return { version, what, ok: false, passed: 0, failed: 0, skipped: 0, failures: [`${step} failed`] };
    }
  }
  return { version, what, ...runSuite('test:unit', { env, name: `test-unit-node${major}` }) };
}

/** The packaged extension, in code-server with the Node that it needs. */
function inVsCode(age) {
  const { codeServer, node } = VSCODES[age];
  const env = { GRADLEAK_CHROMIUM: ensureBrowser(), ...ensureVsCode(age) };
  return {
    version: `VS Code of code-server ${codeServer}, on Node ${node}`,
    what: 'end-to-end tests',
    ...runSuite('test:e2e', { env, name: `test-e2e-${age}` }),
  };
}

function succeeds(command, args, env) {
  const options = { cwd: ROOT, stdio: 'inherit', shell: process.platform === 'win32' };
  return spawnSync(command, args, { ...options, env: { ...process.env, ...env } }).status === 0;
}

function print(rows) {
  const cells = [
    ['', 'version', 'what', 'passed', 'failed', 'skipped', 'minutes'],
    ...rows.map(({ ok, version, what, passed, failed, skipped, minutes }) =>
      [ok ? 'ok' : 'FAILED', version, what, passed, failed, skipped, minutes.toFixed(1)].map(String),
    ),
  ];
  const widths = cells[0].map((_, column) => Math.max(...cells.map((row) => row[column].length)));
  console.log();
  for (const row of cells) {
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    );
  }
  for (const { version, failures } of rows) {
    for (const failure of failures) {
      console.log(`${version}: ${failure}`);
    }
  }
}
