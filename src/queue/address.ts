/** Addresses of Redis servers, apart from what logs in there. Knows no server. */

/** What logs in. An empty user is the server's default one. */
export interface QueueLogin {
  readonly user: string;
  readonly password: string;
}

export interface QueueAddress {
  /** `redis://host[:port][/db]`, or `rediss://` for TLS. */
  readonly address: string;
  /** Undefined where the text held none. */
  readonly login: QueueLogin | undefined;
}

const ADDRESS = /^rediss?:\/\//;
const DATABASE = /^\/(\d+)?$/;

/** Whether a text leads to a server at all; it may hold a login and options of the connection. */
export function isServerUrl(text: string): boolean {
  return ADDRESS.test(text) && URL.canParse(text);
}

/** @returns undefined for what is no address of a server, or says more than an address, a database and a login */
export function queueAddressOf(text: string): QueueAddress | undefined {
  if (!isServerUrl(text)) {
    return undefined;
  }
  const { protocol, host, pathname, search, hash, username, password } = new URL(text);
  if (host === '' || search !== '' || hash !== '' || !(pathname === '' || DATABASE.test(pathname))) {
    return undefined;
  }
  const address = `${protocol}//${host}${pathname === '/' ? '' : pathname}`;
  if (username === '' && password === '') {
    return { address, login: undefined };
  }
  try {
    return { address, login: { user: decodeURIComponent(username), password: decodeURIComponent(password) } };
  } catch {
    // Not encoded as in an address.
    return undefined;
  }
}

/** An address for people: without what logs in, wherever in it that is. */
export function withoutSecrets(url: string): string {
  if (!isServerUrl(url)) {
    return 'the address of the queue';
  }
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${/^\/\d+$/.test(pathname) ? pathname : ''}`;
}
