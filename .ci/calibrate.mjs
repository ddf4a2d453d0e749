// npm run calibrate [-- FOLDER] [--limit N] [--docs]: stated confidence against the share that is right, on gradients of PyTorch networks.
// Without a folder of cases it makes one with Python (GRADLEAK_PYTHON, default python3; test/calibration/requirements.txt).
import { existsSync } from 'node:fs';
import { ensureInstalled, run, runProgram } from './setup.mjs';

ensureInstalled();
const [first, ...rest] = process.argv.slice(2);
const folder = first && !first.startsWith('--') ? first : 'out/calibration';
const flags = folder === first ? rest : process.argv.slice(2);
if (!existsSync(`${folder}/cases.jsonl`)) {
  run(process.env.GRADLEAK_PYTHON ?? 'python3', ['test/calibration/make_cases.py', folder]);
}
await runProgram('test/calibration/calibrate.ts', 'out/calibrate.cjs', [folder, ...flags]);
