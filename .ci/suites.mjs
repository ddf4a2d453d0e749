// Runs one of package.json's suites of tests, and counts.
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { ROOT } from './setup.mjs';

/**
 * Of the unit tests, those that differ between Nodes if any does: the command, its children and their signals, native code and
 * WebAssembly. `npm test` runs them on each Node that is there; all others run by `npm run versions`.
 */
export const SENSITIVE_TO_NODE = [
  'test/unit/cli/cli.test.ts',
  'test/unit/cli/supervise.test.ts',
  'test/unit/runner/client.test.ts',
  'test/unit/formats/hdf5.test.ts',
  'test/unit/graph/second-order.test.ts',
];

/** The environment in which `node`, and what npm runs, is this one. */
export function withNode(node) {
  return { PATH: `${dirname(node)}${delimiter}${process.env.PATH ?? ''}` };
}

/**
 * @param script of package.json
 * @param args of vitest, such as the files to run
 * @param name of the file in out/ that the results are left in
 * @returns whether it ended well, how many tests passed, failed and were skipped, and the names of those that failed
 */
export function runSuite(script, { args = [], env = {}, name = script.replace(':', '-') } = {}) {
  const file = join(ROOT, 'out', `${name}.json`);
  rmSync(file, { force: true });
  const { status } = spawnSync(
    'npm',
    ['run', '--silent', script, '--', ...args, '--reporter=default', '--reporter=json', `--outputFile.json=${file}`],
    { cwd: ROOT, stdio: 'inherit', shell: process.platform === 'win32', env: { ...process.env, ...env } },
  );
  return { ok: status === 0, ...countsIn(file) };
}

function countsIn(file) {
  try {
    const { numPassedTests, numFailedTests, numPendingTests, testResults } = JSON.parse(readFileSync(file, 'utf8'));
    return {
      passed: numPassedTests,
      failed: numFailedTests,
      skipped: numPendingTests,
      failures: testResults.flatMap(({ assertionResults }) =>
        assertionResults.filter((one) => one.status === 'failed').map((one) => one.fullName),
      ),
    };
  } catch {
    // It ended before it wrote any.
    return { passed: 0, failed: 0, skipped: 0, failures: [] };
  }
}
