import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { version } from '../../package.json';

const ROOT = join(import.meta.dirname, '..', '..');

/** The package that the suites install and run. */
export const VSIX = join(ROOT, 'out', `gradleak-${process.platform}-${process.arch}-${version}.vsix`);

/** Makes it once for all suites. */
export default function setup(): void {
  mkdirSync(join(ROOT, 'out'), { recursive: true });
  execFileSync(process.execPath, ['.ci/package.mjs'], { cwd: ROOT, stdio: 'pipe' });
}
