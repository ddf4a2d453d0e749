import { resolve } from 'node:path';
import { REPORT_FILE } from '../audit/output.js';
import { openOutput, writeOutput } from '../audit/output-folder.js';
import { SEVERITIES } from '../protocol/report.js';
import { isRemote } from '../remote/address.js';
import { openManifest } from '../shards/manifest.js';
import { merge } from '../shards/merge.js';
import { isStore } from '../shards/folder-store.js';
import type { ResultStore } from '../shards/result-store.js';
import { badArguments, oneOf, parse, textOf } from './arguments.js';
import { writeProjectPages } from './audit-project.js';
import { EXIT, exitCode, factsOfProject } from './exit-code.js';
import { renderNotAssessed, renderProject } from './render-project.js';
import { storeAt } from '../remote/store-at.js';
import { type CliSurroundings, hooksOf } from './surroundings.js';

/** `gradleak merge`: what all shares found, as the report of a project. */

export async function mergeStore(args: readonly string[], surroundings: CliSurroundings): Promise<number> {
  const { values, positionals } = parse(args, {
    manifest: { type: 'string' },
    'fail-on': { type: 'string' },
    format: { type: 'string', default: 'text' },
    out: { type: 'string' },
    html: { type: 'boolean', default: false },
    force: { type: 'boolean', default: false },
  });
  const text = textOf(values);
  const [place] = positionals;
  if (place === undefined || positionals.length > 1) {
    throw badArguments(`${positionals.length} folders`, 'the store that the shares were audited to');
  }
  const given = isRemote(place) ? text('out') : place;
  if (given === undefined) {
    throw badArguments('merge of an object store without --out', 'a folder for the report');
  }
  if (isRemote(place) ? values.html === true : text('out') !== undefined) {
    // Pages are beside the results of each audit, and the project's page leads there.
    throw isRemote(place)
      ? badArguments('--html with an object store', 'a store in a folder, as each page lies beside its results')
      : badArguments('--out with a store in a folder', 'no --out: the report is written to the store');
  }
  if (!isRemote(place) && !isStore(place)) {
    throw badArguments(`no store in ${place}`, 'the store that the shares were audited to');
  }
  const { store, close } = storeAt(place);
  try {
    return await merged(store, resolve(given), { text, values, surroundings });
  } finally {
    close();
  }
}

interface Asked {
  readonly text: (name: string) => string | undefined;
  readonly values: Record<string, unknown>;
  readonly surroundings: CliSurroundings;
}

async function merged(store: ResultStore, out: string, { text, values, surroundings }: Asked): Promise<number> {
  const failOn = oneOf('--fail-on', text('fail-on'), SEVERITIES);
  const format = oneOf('--format', text('format'), ['text', 'json']) ?? 'text';
  const force = values.force === true;
  const paths = text('manifest') === undefined ? await store.manifests() : [text('manifest')];
  const [path] = paths;
  if (path === undefined || paths.length > 1) {
    throw badArguments(
      `a store of ${paths.length} manifests`,
      `--manifest with the one that the shares were taken from${paths.length > 1 ? `, such as ${paths[0] ?? ''}` : ''}`,
    );
  }
  const manifest = await openManifest(path);
  const unlock = openOutput(out, [REPORT_FILE], force);
  try {
    const report = await merge(manifest, store, () => hooksOf(surroundings).pause());
    writeOutput(out, REPORT_FILE, `${JSON.stringify(report, undefined, 1)}\n`, force);
    writeProjectPages(out, report, { pages: values.html === true, force });
    surroundings.print(
      format === 'json'
        ? `${JSON.stringify(report, undefined, 1)}\n`
        : renderProject(report, out, 'The shares that are left go on with it.'),
    );
    const open = renderNotAssessed(report);
    if (open !== undefined) {
      surroundings.printError(open);
    }
    const code = exitCode({ ...factsOfProject(report, failOn), cancelled: false });
    return code === EXIT.done && report.status === 'cancelled' ? EXIT.notAssessed : code;
  } finally {
    unlock();
  }
}
