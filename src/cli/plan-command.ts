import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { makeFolder } from '../audit/output-folder.js';
import { UnusableInputError } from '../protocol/errors.js';
import { settingsKey } from '../project/settings-key.js';
import { isRemote } from '../remote/address.js';
import { openManifest, writeManifest } from '../shards/manifest.js';
import { counted } from '../words/count-words.js';
import { badArguments, oneOf, parse, textOf } from './arguments.js';
import { planned } from './audit-project.js';
import { withWholePaths } from '../project/settings-paths.js';
import { type AuditSettings, SETTINGS_OPTIONS, projectSettingsOf } from './audit-settings.js';
import { startChildren } from './children.js';
import { EXIT } from './exit-code.js';
import { Projects } from '../remote/store-at.js';
import { type CliSurroundings, hooksOf } from './surroundings.js';

/** `gradleak plan`: the audits of a project as a manifest, which shards take their shares from. */

/** Files and folders of a store of federated updates; more are audited by several manifests. */
const MOST_ENTRIES = 20_000_000;

export async function planManifest(args: readonly string[], surroundings: CliSurroundings): Promise<number> {
  const { values, positionals } = parse(args, {
    ...SETTINGS_OPTIONS,
    exclude: { type: 'string' },
    'include-ignored': { type: 'boolean', default: false },
    identity: { type: 'string' },
    out: { type: 'string' },
  });
  const text = textOf(values);
  const [root] = positionals;
  const out = text('out');
  if (root === undefined || positionals.length > 1) {
    throw badArguments(`${positionals.length} folders`, 'one project to plan');
  }
  if (out === undefined) {
    throw badArguments('plan without --out', 'a file to write the manifest to');
  }
  const path = resolve(out);
  const isForced = values.force === true;
  if (existsSync(path) && !isForced && !(await isManifest(path))) {
    throw new UnusableInputError({
      code: 'would-overwrite',
      file: path,
      found: 'a file that is no manifest of this version',
      expected: 'a new file, or an earlier manifest',
      advice: 'Choose another name, or replace it.',
      next: ['choose-output'],
    });
  }
  makeFolder(dirname(path));
  surroundings.endsItself?.();
  const settings = withAbsolutePaths(projectSettingsOf(text, false));
  const identity = oneOf('--identity', text('identity'), ['contents', 'size-and-time']) ?? 'contents';
  surroundings.progress('Looking for dumps');
  const projects = new Projects();
  const children = startChildren(surroundings.cancelled, projects.mirror);
  try {
    const folder = await projects.whole(root, () => hooksOf(surroundings).pause());
    const key = await settingsKey(settings, undefined, () => hooksOf(surroundings).pause());
    const plan = await planned(
      {
        settingsKey: key,
        root: folder,
        exclude: text('exclude')?.split(',') ?? [],
        includeIgnored: values['include-ignored'] === true,
        settings,
        identity,
        ...(identity === 'contents' && !isRemote(root) ? { hashCache: `${path}.hashes` } : {}),
        mostEntries: MOST_ENTRIES,
      },
      children,
      surroundings.cancelled,
    );
    writeManifest(path, plan, { settings, settingsKey: key, identity, ...(!isRemote(root) ? {} : { root }) });
    const left = plan.skipped.filter(({ isGradient }) => isGradient === true).length;
    surroundings.print(
      [
        `${path}: ${counted(plan.entries.length, 'audit')}.`,
        ...(left > 0 ? [`${counted(left, 'file')} that may hold a gradient left out; the manifest says why.`] : []),
        'Audit it with: gradleak audit --manifest MANIFEST --shard I/N --out STORE',
        '',
      ].join('\n'),
    );
    return EXIT.done;
  } finally {
    children.dispose();
    projects.close();
  }
}

/** Shards may run in another folder. */
function withAbsolutePaths({ reconstruction, ...settings }: AuditSettings): AuditSettings {
  return reconstruction ? { ...settings, reconstruction: withWholePaths(reconstruction, process.cwd()) } : settings;
}

async function isManifest(path: string): Promise<boolean> {
  try {
    await openManifest(path);
    return true;
  } catch {
    return false;
  }
}
