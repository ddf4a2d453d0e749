// Generates media/report.schema.json from the TypeScript types; --check only compares.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import prettier from 'prettier';
import { createGenerator } from 'ts-json-schema-generator';
import { ROOT } from './setup.mjs';

const file = join(ROOT, 'media', 'report.schema.json');
const schema = createGenerator({
  path: join(ROOT, 'src', 'protocol', 'report.ts'),
  tsconfig: join(ROOT, 'tsconfig.json'),
  type: 'Report',
  topRef: false,
  additionalProperties: true,
  skipTypeCheck: true,
}).createSchema('Report');
const options = (await prettier.resolveConfig(file)) ?? {};
const text = await prettier.format(JSON.stringify({ title: 'GradLeak report', ...schema }), {
  ...options,
  parser: 'json',
});
if (process.argv.includes('--check')) {
  if (readFileSync(file, 'utf8') !== text) {
    console.error('media/report.schema.json is not what src/protocol/report.ts says: run "npm run schema".');
    process.exit(1);
  }
} else {
  writeFileSync(file, text);
}
