// Generates the schemas from the TypeScript types, published ones and those of messages; --check only compares.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import prettier from 'prettier';
import { createGenerator } from 'ts-json-schema-generator';
import { ROOT } from './setup.mjs';

const schemas = [
  {
    file: 'media/report.schema.json',
    source: 'src/protocol/report.ts',
    type: 'Report',
    title: 'GradLeak report',
    open: true,
    change: asStored,
  },
  {
    file: 'media/project.schema.json',
    source: 'src/protocol/project-report.ts',
    type: 'ProjectReport',
    title: 'GradLeak report on a project',
    open: true,
  },
  {
    file: 'media/recipe.schema.json',
    source: 'src/network/layers/recipe.ts',
    type: 'Recipe',
    title: 'GradLeak network recipe',
    open: false,
  },
  {
    file: 'media/capture.schema.json',
    source: 'src/protocol/capture-file.ts',
    type: 'CaptureFile',
    title: 'GradLeak notes on a capture',
    open: true,
  },
  {
    file: 'media/truth.schema.json',
    source: 'src/protocol/truth-file.ts',
    type: 'TruthFile',
    title: 'GradLeak truth of a dump',
    open: true,
  },
  {
    file: 'media/defence.schema.json',
    source: 'src/protocol/defence-report.ts',
    type: 'DefenceReport',
    title: 'GradLeak report on what would stop the leaks of an update',
    open: true,
  },
  {
    file: 'media/manifest.schema.json',
    source: 'src/protocol/manifest.ts',
    type: 'ManifestLine',
    title: 'GradLeak manifest of many audits, a line',
    open: true,
  },
  {
    file: 'src/protocol/audit-request.schema.json',
    source: 'src/protocol/audit-request.ts',
    type: 'AuditRequest',
    title: 'What an audit was asked for',
    open: false,
  },
  {
    file: 'src/protocol/from-panel.schema.json',
    source: 'src/protocol/panel-messages.ts',
    type: 'FromPanel',
    title: 'Messages of the results panel',
    open: false,
  },
  {
    file: 'src/protocol/panel-state.schema.json',
    source: 'src/protocol/panel-messages.ts',
    type: 'PanelState',
    title: 'Kept state of the results panel',
    open: false,
  },
  {
    file: 'src/protocol/from-inspector.schema.json',
    source: 'src/protocol/inspector-messages.ts',
    type: 'FromInspector',
    title: 'Messages of the inspector',
    open: false,
  },
  {
    file: 'src/protocol/from-summary.schema.json',
    source: 'src/protocol/summary-messages.ts',
    type: 'FromSummary',
    title: 'Messages of the summary',
    open: false,
  },
];

/** What the types of a report cannot say of the file: numbers that are not finite are null in JSON, and details of later versions are read. */
function asStored(schema) {
  const { Detail } = schema.definitions;
  const known = Detail.anyOf.map(({ $ref }) => schema.definitions[$ref.split('/').pop()].properties.type.const);
  Detail.anyOf.push({
    type: 'object',
    properties: { type: { type: 'string', not: { enum: known } } },
    required: ['type'],
    description: 'A form of a later version.',
  });
  return JSON.parse(JSON.stringify(schema), (_key, own) =>
    own?.type === 'number' && own.const === undefined && own.enum === undefined
      ? { ...own, type: ['number', 'null'] }
      : own,
  );
}

for (const { file, source, type, title, open, change = (schema) => schema } of schemas) {
  const path = join(ROOT, file);
  const schema = createGenerator({
    path: join(ROOT, source),
    tsconfig: join(ROOT, 'tsconfig.json'),
    type,
    topRef: false,
    additionalProperties: open,
    skipTypeCheck: true,
  }).createSchema(type);
  const options = (await prettier.resolveConfig(path)) ?? {};
  const text = await prettier.format(JSON.stringify({ title, ...change(schema) }), { ...options, parser: 'json' });
  if (!process.argv.includes('--check')) {
    writeFileSync(path, text);
  } else if (!existsSync(path) || readFileSync(path, 'utf8') !== text) {
    console.error(`${file} is not what ${source} says: run "npm run schema".`);
    process.exit(1);
  }
}
