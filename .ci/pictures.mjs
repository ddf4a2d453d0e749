// npm run pictures: takes the pictures of README, walkthrough and tour anew, of the extension in VS Code. Run it after a change of
// a view, look at media/walkthrough/*.webp, and commit them.
import { ensureBrowser, ensureVsCode } from './editor.mjs';
import { build, ensureInstalled, run } from './setup.mjs';

ensureInstalled();
build();
const env = { ...process.env, GRADLEAK_CHROMIUM: ensureBrowser(), ...ensureVsCode() };
run('npx', ['vitest', 'run', '--config', 'test/pictures/vitest.config.ts', ...process.argv.slice(2)], { env });
