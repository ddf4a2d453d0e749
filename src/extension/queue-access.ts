import { isAbsolute } from 'node:path';
import * as vscode from 'vscode';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import type { QueuePlace } from '../protocol/queue-messages.js';
import { type QueueLogin, queueAddressOf, withoutSecrets } from '../queue/address.js';
import { isRemote, placeOf } from '../remote/address.js';
import { SETTINGS } from './ids.js';
import { askModal, showWarning } from './notifications.js';
import { askForText } from './questions.js';
import type { QueueLogins } from './queue-logins.js';

/** Where the queue and its store are and what logs in: from settings and secrets, asked for where they do not say. */
export class QueueAccess {
  constructor(private readonly logins: QueueLogins) {}

  /**
   * @returns undefined when the user gives none
   * @throws UnusableInputError when the setting is no address
   */
  async place(): Promise<QueuePlace | undefined> {
    const given = textOf(SETTINGS.queueUrl);
    if (given === '') {
      return this.askForPlace();
    }
    const parsed = queueAddressOf(given);
    if (!parsed) {
      throw new UnusableInputError({
        code: 'no-server',
        file: withoutSecrets(given),
        found: 'a setting that is no address of a server',
        expected: ADDRESS_EXAMPLES,
        advice: 'Correct it.',
        next: ['enter-queue', 'open-settings'],
      });
    }
    if (parsed.login && !(await this.moveLogin(parsed.address, parsed.login))) {
      return undefined;
    }
    return this.placeAt(parsed.address);
  }

  /** With what is stored for it. */
  async placeAt(address: string): Promise<QueuePlace> {
    return { address, login: (await this.logins.of(address)) ?? null };
  }

  /**
   * @returns undefined when the user gives none
   * @throws UnusableInputError when the setting is no place for results
   */
  async store(): Promise<string | undefined> {
    const given = textOf(SETTINGS.queueStore);
    if (given === '') {
      return this.askForStore();
    }
    const problem = problemOfStore(given);
    if (problem !== undefined) {
      throw new UnusableInputError({
        code: 'bad-arguments',
        file: given,
        found: 'a setting that is no store for results',
        expected: STORE_EXAMPLES,
        advice: problem,
        next: ['choose-store', 'open-settings'],
      });
    }
    return given;
  }

  /** Keeps it as the user's setting, and what logs in as a secret. */
  async askForPlace(): Promise<QueuePlace | undefined> {
    const given = await askForText({
      title: 'Queue: Server',
      prompt: 'Address of the Redis or Valkey server. A user and a password in it go to the secret storage.',
      placeHolder: 'rediss://host:6379',
      value: queueAddressOf(textOf(SETTINGS.queueUrl))?.address ?? '',
      validateInput: (text) => (queueAddressOf(text.trim()) ? undefined : `Expected ${ADDRESS_EXAMPLES}.`),
    });
    const parsed = given === undefined ? undefined : queueAddressOf(given.trim());
    if (!parsed) {
      return undefined;
    }
    if (parsed.login) {
      await this.logins.keep(parsed.address, parsed.login);
    }
    await keepSetting(SETTINGS.queueUrl, parsed.address);
    return this.placeAt(parsed.address);
  }

  /** @returns undefined when the user gives none; kept by `keepLogin`, once the server has let it in */
  async askForLogin(address: string): Promise<QueueLogin | undefined> {
    const user = await askForText({
      title: `Queue: User at ${address}`,
      prompt: 'Empty for the default user. Kept in the secret storage of the editor.',
    });
    if (user === undefined) {
      return undefined;
    }
    const password = await askForText({
      title: `Queue: Password at ${address}`,
      prompt: 'Kept in the secret storage of the editor.',
      password: true,
    });
    return password === undefined ? undefined : { user: user.trim(), password };
  }

  keepLogin(address: string, login: QueueLogin): Promise<void> {
    return this.logins.keep(address, login);
  }

  async askForStore(): Promise<string | undefined> {
    const given = await askForText({
      title: 'Queue: Store',
      prompt:
        'Where the results of all workers come together: a folder that this machine and the workers see, or an object store.',
      placeHolder: '/shared/folder or s3://bucket/prefix',
      value: textOf(SETTINGS.queueStore),
      validateInput: (text) => problemOfStore(text.trim()),
    });
    if (given === undefined) {
      return undefined;
    }
    await keepSetting(SETTINGS.queueStore, given.trim());
    return given.trim();
  }

  /** @returns whether the setting holds it no more */
  private async moveLogin(address: string, login: QueueLogin): Promise<boolean> {
    const move = 'Move to Secret Storage';
    const answer = await askModal(
      'The setting gradleak.queue.url holds a password.',
      'Settings are plain text, and may be synchronised. GradLeak takes no password from there: it can move it to the secret storage of the editor, and leave the address without it.',
      move,
    );
    if (answer !== move) {
      return false;
    }
    await this.logins.keep(address, login);
    await keepSetting(SETTINGS.queueUrl, address);
    const isLeft = queueAddressOf(textOf(SETTINGS.queueUrl))?.login !== undefined;
    if (isLeft) {
      void showWarning(
        'The password is in the secret storage now, but a settings file still holds it: remove it from gradleak.queue.url there.',
      );
    }
    return !isLeft;
  }
}

const ADDRESS_EXAMPLES = 'redis://host:6379, or rediss://host:6379 for TLS';
const STORE_EXAMPLES = 'the path of a folder from its root, or s3://bucket/prefix';

/** Undefined for what can be a store. */
function problemOfStore(text: string): string | undefined {
  if (!isRemote(text)) {
    return isAbsolute(text) ? undefined : `Expected ${STORE_EXAMPLES}.`;
  }
  try {
    placeOf(text);
    return undefined;
  } catch (error) {
    return error instanceof UnusableInputError ? `Expected ${error.parts.expected}.` : messageOf(error);
  }
}

function textOf(setting: string): string {
  return vscode.workspace.getConfiguration().get<string>(setting, '').trim();
}

async function keepSetting(setting: string, value: string): Promise<void> {
  await vscode.workspace.getConfiguration().update(setting, value, vscode.ConfigurationTarget.Global);
}
