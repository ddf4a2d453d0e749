import { Redis } from 'ioredis';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import { type QueueLogin, isServerUrl, withoutSecrets } from './address.js';
import { untilAborted } from './until-aborted.js';

/** The Redis (or Valkey) server that holds a queue. */

/** How long the first answer of a server is waited for. */
const CONNECT_MS = 10_000;
/** How long each command waits that has a deadline, also where the connection was lost and is made again. */
const COMMAND_MS = 10_000;
const MOST_RETRY_MS = 2000;

export interface Connecting {
  /** Where the address holds none. */
  readonly login?: QueueLogin | undefined;
  /**
   * Whether commands fail that the server does not answer within ten seconds, by what `isUnanswered` tells. Without one they
   * wait for ever, as those of workers do, which block.
   */
  readonly hasDeadline?: boolean;
  /** Ends the wait for the first answer. */
  readonly signal?: AbortSignal;
}

/**
 * @param url `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS
 * @throws UnusableInputError when there is no such server, or it does not let this user in
 * @throws AbortError when the signal says so
 */
export async function connect(url: string, { login, hasDeadline, signal }: Connecting = {}): Promise<Redis> {
  if (!isServerUrl(url)) {
    throw unreachable(url, 'no address of a Redis server, such as redis://host:6379');
  }
  const redis = new Redis(url, {
    ...(login === undefined ? {} : loginOptions(login)),
    // What a queue asks of a connection: commands wait until the server is back.
    maxRetriesPerRequest: null,
    lazyConnect: true,
    connectTimeout: CONNECT_MS,
    // Begins when a command is given, not when it is sent.
    ...(hasDeadline === true ? { commandTimeout: COMMAND_MS } : {}),
    retryStrategy: (times) => Math.min(100 * times, MOST_RETRY_MS),
  });
  let problem = 'no answer';
  const onError = (error: Error): void => {
    problem = messageOf(error);
  };
  redis.on('error', onError);
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new Error(problem));
    }, CONNECT_MS);
  });
  try {
    // The first attempt ends the wait where a server refuses; a name that is not found does too.
    const answer = Promise.race([redis.connect().then(() => redis.ping()), tooLate]);
    await (signal ? untilAborted(answer, signal) : answer);
    return redis;
  } catch (error) {
    redis.disconnect();
    if (signal?.aborted === true) {
      throw error;
    }
    const found = messageOf(error) === 'Connection is closed.' || isUnanswered(error) ? problem : messageOf(error);
    throw REFUSED.test(found) ? refused(url, found) : unreachable(url, found);
  } finally {
    clearTimeout(timer);
  }
}

/** What of a server's settings would lose jobs; sentences for people. */
export async function serverRisks(redis: Redis): Promise<string[]> {
  let info: string;
  try {
    info = `${await redis.info('memory')}\n${await redis.info('persistence')}`;
  } catch (error) {
    if (isUnanswered(error)) {
      throw error;
    }
    return [
      `The server does not tell its settings (${messageOf(error)}): it should never drop keys, and keep an append-only file.`,
    ];
  }
  const value = (name: string): string | undefined => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1];
  const risks: string[] = [];
  const policy = value('maxmemory_policy');
  if (policy !== undefined && policy !== 'noeviction') {
    risks.push(
      `The server drops keys when its memory is full (maxmemory-policy ${policy}): jobs would be lost. Set maxmemory-policy noeviction.`,
    );
  }
  if (value('aof_enabled') === '0') {
    risks.push(
      'The server keeps no append-only file: jobs of the last minutes are lost when it ends. Set appendonly yes; or submit the manifest again after a crash, which repeats nothing that is done.',
    );
  }
  return risks;
}

/** Whether a command was given up at its deadline. */
export function isUnanswered(error: unknown): boolean {
  return messageOf(error) === 'Command timed out';
}

/** What is said of such a command. */
export function unanswered(url: string): UnusableInputError {
  return new UnusableInputError({
    code: 'no-server',
    file: withoutSecrets(url),
    found: `a server that has not answered for ${COMMAND_MS / 1000} s`,
    expected: 'an answer',
    advice: 'Try again later, or ask whoever runs the server; what it was asked for may be done in part.',
    next: ['retry', 'enter-queue'],
  });
}

/** The default user has no name: asked for by one, servers before Redis 6 would not answer. */
function loginOptions({ user, password }: QueueLogin): { username?: string; password: string } {
  return { ...(user === '' ? {} : { username: user }), password };
}

/** What servers answer whom they do not let in. */
const REFUSED = /^(WRONGPASS|NOAUTH|NOPERM|ERR (invalid|AUTH))/;

function refused(url: string, found: string): UnusableInputError {
  return new UnusableInputError({
    code: 'login-refused',
    file: withoutSecrets(url),
    found: `a server that does not let this user in (${found})`,
    expected: 'a user and a password that it knows',
    advice: 'Ask whoever runs the server for them.',
  });
}

function unreachable(url: string, found: string): UnusableInputError {
  return new UnusableInputError({
    code: 'no-server',
    file: withoutSecrets(url),
    found,
    expected: 'a Redis or Valkey server, as redis://host:6379',
    advice: 'Check that it runs and that this machine may reach it.',
  });
}
