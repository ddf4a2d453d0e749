import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';

/** A real redis-server for tests, where the machine has one (Debian: redis-server). */

export const hasRedis = spawnSync('redis-server', ['--version'], { stdio: 'ignore' }).status === 0;

export interface RedisServer {
  readonly url: string;
  readonly process: ChildProcess;
  stop(): Promise<void>;
}

/** @param folder that it keeps its append-only file in @param options of redis-server */
export async function startRedis(folder: string, options: readonly string[], port?: number): Promise<RedisServer> {
  const own = port ?? (await freePort());
  const child = spawn('redis-server', ['--port', String(own), '--dir', folder, '--save', '', ...options], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  await new Promise<void>((resolve, reject) => {
    let printed = '';
    child.stdout.on('data', (text: Buffer) => {
      printed += text.toString();
      if (printed.includes('Ready to accept connections')) {
        resolve();
      }
    });
    child.on('error', reject);
    child.on('close', () => {
      reject(new Error(printed));
    });
  });
  return {
    url: `redis://127.0.0.1:${own}`,
    process: child,
    stop: async () => {
      child.kill('SIGKILL');
      await wait(50);
    },
  };
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => {
        resolve(typeof address === 'object' && address ? address.port : 0);
      });
    });
  });
}
