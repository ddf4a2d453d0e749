// Generates the published schemas from the TypeScript types; --check only compares.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import prettier from 'prettier';
import { createGenerator } from 'ts-json-schema-generator';
import { ROOT } from './setup.mjs';

const schemas = [
  {
    file: 'report.schema.json',
    source: 'src/protocol/report.ts',
    type: 'Report',
    title: 'GradLeak report',
    open: true,
  },
  {
    file: 'project.schema.json',
    source: 'src/protocol/project-report.ts',
    type: 'ProjectReport',
    title: 'GradLeak report on a project',
    open: true,
  },
  {
    file: 'recipe.schema.json',
    source: 'src/network/recipe.ts',
    type: 'Recipe',
    title: 'GradLeak network recipe',
    open: false,
  },
];
for (const { file, source, type, title, open } of schemas) {
  const path = join(ROOT, 'media', file);
  const schema = createGenerator({
    path: join(ROOT, source),
    tsconfig: join(ROOT, 'tsconfig.json'),
    type,
    topRef: false,
    additionalProperties: open,
    skipTypeCheck: true,
  }).createSchema(type);
  const options = (await prettier.resolveConfig(path)) ?? {};
  const text = await prettier.format(JSON.stringify({ title, ...schema }), { ...options, parser: 'json' });
  if (!process.argv.includes('--check')) {
    writeFileSync(path, text);
  } else if (!existsSync(path) || readFileSync(path, 'utf8') !== text) {
    console.error(`media/${file} is not what ${source} says: run "npm run schema".`);
    process.exit(1);
  }
}
