import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { type Socket, connect, createServer } from 'node:net';
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

export interface HangingServer {
  readonly url: string;
  stop(): void;
}

/**
 * A server that takes connections and answers until it is asked for something, and then hangs: what is said to it and by it
 * on that connection goes nowhere any more.
 *
 * @param behind the server that answers until then
 */
export async function startHanging(behind: string, from: RegExp): Promise<HangingServer> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const other = connect(Number(new URL(behind).port), '127.0.0.1');
    let hangs = false;
    socket.on('data', (data) => {
      hangs ||= from.test(data.toString('latin1'));
      if (!hangs) {
        other.write(data);
      }
    });
    other.on('data', (data) => {
      if (!hangs) {
        socket.write(data);
      }
    });
    for (const [own, twin] of [
      [socket, other],
      [other, socket],
    ] as const) {
      sockets.add(own);
      own.on('error', () => undefined);
      own.on('close', () => {
        sockets.delete(own);
        twin.destroy();
      });
    }
  });
  const port = await freePort();
  await new Promise<void>((resolve) => {
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    url: `redis://127.0.0.1:${port}`,
    stop: () => {
      server.close();
      sockets.forEach((socket) => socket.destroy());
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
