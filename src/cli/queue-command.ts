import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import type { Redis } from 'ioredis';
import { CancelledError } from '../protocol/errors.js';
import { isRemote } from '../remote/address.js';
import type { JobQueue } from '../queue/job-queue.js';
import { withoutSecrets } from '../queue/address.js';
import { openManifest } from '../shards/manifest.js';
import { counted } from '../words/count-words.js';
import { badArguments, oneOf, parse, textOf, wholeOption } from './arguments.js';
import { startChildren } from './children.js';
import { EXIT, exitCode } from './exit-code.js';
import { jobsAtATime } from './jobs-at-a-time.js';
import { Projects, storeAt } from '../remote/store-at.js';
import type { CliSurroundings } from './surroundings.js';

/** `gradleak queue`: audits of a manifest by as many machines as take part, through a Redis server. */

/** A worker waits for its server, and to empty a long queue is one command that may take long. */
const WITH_DEADLINE: ReadonlySet<string> = new Set(['submit', 'status', 'retry']);
const ACTIONS = ['submit', 'work', 'status', 'retry', 'cancel'] as const;

export async function queueCommand(args: readonly string[], surroundings: CliSurroundings): Promise<number> {
  const { values, positionals } = parse(args, {
    queue: { type: 'string' },
    name: { type: 'string' },
    manifest: { type: 'string' },
    out: { type: 'string' },
    root: { type: 'string' },
    jobs: { type: 'string' },
    'until-empty': { type: 'boolean', default: false },
    format: { type: 'string', default: 'text' },
  });
  const text = textOf(values);
  const [action, ...more] = positionals;
  const asked = oneOf('queue', action, ACTIONS);
  if (asked === undefined || more.length > 0) {
    throw badArguments('queue', `one of ${ACTIONS.join(', ')}`);
  }
  // Not an option alone: what is on the command line, others on the machine can see.
  const url = text('queue') ?? process.env.GRADLEAK_QUEUE;
  if (url === undefined) {
    throw badArguments('queue without an address', '--queue redis://host:6379, or GRADLEAK_QUEUE');
  }
  // Loaded when it is asked for: most runs need no queue.
  const { connect, isUnanswered, serverRisks, unanswered } = await import('../queue/connection.js');
  const jobs = await import('../queue/job-queue.js');
  const name = text('name') ?? jobs.DEFAULT_QUEUE;
  if (!/^[\w.-]{1,100}$/.test(name)) {
    throw badArguments(`--name ${name}`, 'letters, digits, dots, hyphens');
  }
  const redis = await connect(url, { hasDeadline: WITH_DEADLINE.has(asked) });
  const queue = new jobs.JobQueue(redis, name);
  const run: Asked = { queue, redis, name, text, values, surroundings, place: withoutSecrets(url) };
  try {
    if (asked === 'submit' || asked === 'work') {
      for (const risk of await serverRisks(redis)) {
        surroundings.printError(`gradleak: ${risk}\n`);
      }
    }
    return await DO[asked](run);
  } catch (error) {
    throw isUnanswered(error) ? unanswered(url) : error;
  } finally {
    await queue.close();
    redis.disconnect();
  }
}

interface Asked {
  readonly queue: JobQueue;
  readonly redis: Redis;
  readonly name: string;
  readonly text: (name: string) => string | undefined;
  readonly values: Record<string, unknown>;
  readonly surroundings: CliSurroundings;
  /** Of the server, for people. */
  readonly place: string;
}

const DO: Record<(typeof ACTIONS)[number], (asked: Asked) => Promise<number>> = {
  async submit({ queue, text, surroundings, place }) {
    const path = text('manifest');
    if (path === undefined) {
      throw badArguments('queue submit without --manifest', 'a manifest that "gradleak plan" wrote');
    }
    const manifest = await openManifest(path);
    const stated = text('root') ?? manifest.head.root;
    const root = isRemote(stated) ? stated : resolve(stated);
    const count = await queue.submit(manifest, { root, submitter: submitterOf(path) }, (done) => {
      surroundings.progress(`${done} of ${manifest.head.jobs}`);
    });
    surroundings.print(`${counted(count, 'job')} in the queue at ${place}; those that were there already, once.\n`);
    return EXIT.done;
  },
  async work({ queue, redis, name, text, values, surroundings }) {
    const out = text('out');
    if (out === undefined) {
      throw badArguments('queue work without --out', 'the store for the results of all workers');
    }
    const { work } = await import('../queue/work.js');
    surroundings.endsItself?.();
    const { store, close } = storeAt(out);
    const projects = new Projects();
    const children = startChildren(surroundings.cancelled, projects.mirror);
    try {
      const totals = await work({
        redis,
        queue,
        name,
        store,
        // What a job asks for is known when it comes: any may reconstruct.
        concurrency: jobsAtATime(wholeOption(text, 'jobs', 1), 'auto'),
        untilEmpty: values['until-empty'] === true,
        filesOf: (planned) => projects.at(text('root') ?? planned),
        auditOne: (request, signal, progress) => children.auditOne(request, signal, progress),
        log: (message) => {
          surroundings.printError(`${message}\n`);
        },
        cancelled: surroundings.cancelled,
      });
      surroundings.print(
        `${totals.done} audited, ${totals.before + totals.other} audited by others, ${totals.failed} attempts failed.\n`,
      );
      if (surroundings.cancelled()) {
        throw new CancelledError(true);
      }
      if (totals.failed > 0) {
        surroundings.printError('gradleak: "gradleak queue status" says what failed, and why.\n');
      }
      return exitCode({ notAssessed: totals.failed > 0 });
    } finally {
      children.dispose();
      projects.close();
      close();
    }
  },
  async status({ queue, text, surroundings, place }) {
    const status = await queue.status();
    const dead = [];
    for await (const letter of queue.deadLetters()) {
      dead.push(letter);
      if (dead.length === MOST_SHOWN) {
        break;
      }
    }
    if (oneOf('--format', text('format'), ['text', 'json']) === 'json') {
      surroundings.print(`${JSON.stringify({ ...status, deadLetters: dead }, undefined, 1)}\n`);
      return EXIT.done;
    }
    surroundings.print(
      [
        `${place}: ${status.waiting} waiting, ${status.running} running, ${status.delayed} to be tried again, ${status.failed} failed.`,
        ...status.active.map(({ gradients, worker, progress }) => `  ${progress} %  ${gradients}  ${worker}`),
        ...(dead.length > 0 ? ['failed for good, or too often ("gradleak queue retry" tries them again):'] : []),
        ...dead.map(({ gradients, reason, attempts }) => `  ${gradients}: ${reason} (${counted(attempts, 'attempt')})`),
        ...(status.failed > dead.length ? [`  and ${status.failed - dead.length} more`] : []),
        '',
      ].join('\n'),
    );
    return EXIT.done;
  },
  async retry({ queue, surroundings }) {
    surroundings.print(`${counted(await queue.retry(), 'job')} waiting again.\n`);
    return EXIT.done;
  },
  async cancel({ queue, surroundings }) {
    surroundings.print(
      `${counted(await queue.cancel(), 'job')} removed; workers stop what runs. Results stay in the store.\n`,
    );
    return EXIT.done;
  },
};

const MOST_SHOWN = 50;

/** The same for each time that a manifest is submitted from this machine. */
function submitterOf(manifest: string): string {
  const name = createHash('sha256')
    .update(`${hostname()}\0${resolve(manifest)}`)
    .digest('hex');
  return `terminal-${name.slice(0, 16)}`;
}
