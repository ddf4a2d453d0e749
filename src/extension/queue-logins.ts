import { type QueueLogin, queueAddressOf } from '../queue/address.js';

/** What logs in to servers of queues: in the editor's secret storage, and nowhere else. */

/** The editor's `SecretStorage`. */
export interface Secrets {
  get(key: string): Thenable<string | undefined>;
  store(key: string, value: string): Thenable<void>;
  delete(key: string): Thenable<void>;
}

const KEY = 'gradleak.queue';

export class QueueLogins {
  constructor(private readonly secrets: Secrets) {}

  /** Of one server: what was entered for another is never sent to it. */
  async of(address: string): Promise<QueueLogin | undefined> {
    return (await this.all()).get(address);
  }

  async keep(address: string, login: QueueLogin): Promise<void> {
    const all = (await this.all()).set(address, login);
    await this.secrets.store(KEY, JSON.stringify(Object.fromEntries(all)));
  }

  /** Of all servers. @returns the addresses of those that were known */
  async forget(): Promise<string[]> {
    const addresses = [...(await this.all()).keys()];
    await this.secrets.delete(KEY);
    return addresses;
  }

  private async all(): Promise<Map<string, QueueLogin>> {
    let stored: unknown;
    try {
      stored = JSON.parse((await this.secrets.get(KEY)) ?? '{}');
    } catch {
      // Not written by this version: it is asked for again.
    }
    const known = new Map<string, QueueLogin>();
    for (const [address, value] of Object.entries(stored ?? {})) {
      const login = value as Partial<QueueLogin> | null;
      if (queueAddressOf(address) && typeof login?.user === 'string' && typeof login.password === 'string') {
        known.set(address, { user: login.user, password: login.password });
      }
    }
    return known;
  }
}
