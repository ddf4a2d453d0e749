import { CancelledError } from '../protocol/errors.js';
import { type Shard, WHOLE, openManifest } from '../shards/manifest.js';
import { checkRoot } from '../shards/run-job.js';
import { type ShardTotals, runShard, share } from '../shards/run-shard.js';
import { badArguments, oneOf, parse, textOf, wholeOption } from './arguments.js';
import { startChildren } from './children.js';
import { exitCode } from './exit-code.js';
import { jobsAtATime } from './jobs-at-a-time.js';
import { Projects, storeAt } from '../remote/store-at.js';
import type { CliSurroundings } from './surroundings.js';

/** `gradleak audit --manifest`: the share of one machine. */

const MOST_SHOWN = 10;

/** How an audit is done is in the manifest, so that all shares are of one kind. */
const OPTIONS = {
  manifest: { type: 'string' },
  shard: { type: 'string' },
  out: { type: 'string' },
  jobs: { type: 'string' },
  root: { type: 'string' },
  retry: { type: 'boolean', default: false },
  format: { type: 'string', default: 'text' },
} as const;

/** @returns done where every job of the share has a result, whatever that says: `merge` judges them */
export async function auditShard(args: readonly string[], surroundings: CliSurroundings): Promise<number> {
  const { values, positionals } = parse(args, OPTIONS);
  const text = textOf(values);
  const [path, out] = [text('manifest'), text('out')];
  if (path === undefined || positionals.length > 0) {
    throw badArguments('a folder with --manifest', 'a manifest, which names the folder');
  }
  if (out === undefined) {
    throw badArguments('--manifest without --out', 'a folder for the results of all shares');
  }
  const shard = shardOf(text('shard'));
  const jobs = wholeOption(text, 'jobs', 1);
  const format = oneOf('--format', text('format'), ['text', 'json']) ?? 'text';
  const manifest = await openManifest(path);
  surroundings.endsItself?.();
  const projects = new Projects();
  const { store, close } = storeAt(out);
  const children = startChildren(surroundings.cancelled, projects.mirror);
  try {
    const files = projects.at(text('root') ?? manifest.head.root);
    if (!files.prepare) {
      checkRoot(files.root);
    }
    const problems: string[] = [];
    const totals = await runShard({
      manifest,
      shard,
      ...files,
      failed: ({ gradients, problem }) => {
        if (problems.length < MOST_SHOWN) {
          problems.push(`  ${gradients}: ${problem}\n`);
        }
      },
      store,
      audit: { settings: manifest.head.settings, auditOne: (request) => children.auditOne(request) },
      concurrency: jobsAtATime(jobs, manifest.head.settings.reconstruction?.engine),
      retry: values.retry === true,
      progress: surroundings.progress,
      cancelled: surroundings.cancelled,
    });
    const of = share(manifest.head.jobs, shard);
    surroundings.print(format === 'json' ? `${JSON.stringify({ of, ...totals })}\n` : renderTotals(totals, of, shard));
    if (surroundings.cancelled()) {
      throw new CancelledError(true);
    }
    const failed = totals.failed + totals['failed-before'];
    if (failed > 0) {
      surroundings.printError(
        `gradleak: not assessed: ${failed} of ${of} gradients\n${problems.join('')}${failed > problems.length ? `  and ${failed - problems.length} more\n` : ''}`,
      );
      if (totals['failed-before'] > 0) {
        surroundings.printError('Those whose files cannot be audited are not tried again without --retry.\n');
      }
    }
    return exitCode({ notAssessed: failed > 0 });
  } finally {
    children.dispose();
    projects.close();
    close();
  }
}

function renderTotals(totals: ShardTotals, of: number, { index, of: shards }: Shard): string {
  const rest = of - Object.values(totals).reduce((sum, own) => sum + own, 0);
  const parts = [
    `${totals.done} audited`,
    ...(totals.before > 0 ? [`${totals.before} audited before`] : []),
    ...(totals.other > 0 ? [`${totals.other} that another process was faster with`] : []),
    ...(totals.failed + totals['failed-before'] > 0
      ? [`${totals.failed + totals['failed-before']} failed, ${totals['failed-before']} of them before`]
      : []),
    ...(rest > 0 ? [`${rest} left: run it again to go on`] : []),
  ];
  return `Share ${index} of ${shards}, ${of} dumps: ${parts.join(', ')}.\n`;
}

/** @throws UnusableInputError for what is no share */
export function shardOf(given: string | undefined): Shard {
  if (given === undefined) {
    return WHOLE;
  }
  const [, index, of] = (/^(\d{1,9})\/(\d{1,9})$/.exec(given) ?? []).map(Number);
  if (index === undefined || of === undefined || index < 1 || index > of) {
    throw badArguments(`--shard ${given}`, 'a share such as 1/8, from 1/8 to 8/8');
  }
  return { index, of };
}
