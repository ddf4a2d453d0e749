import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { setTimeout as wait } from 'node:timers/promises';

/** A local S3-compatible server that answers ranges, in a process of its own: readers wait for it without letting others run. */

export interface S3Server {
  /** Of the environment of whoever uses it. */
  readonly env: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

const SERVER = `
const S3rver = require(${JSON.stringify(createRequire(import.meta.url).resolve('s3rver'))});
new S3rver({ port: 0, address: '127.0.0.1', silent: true, directory: process.argv[1], configureBuckets: [{ name: process.argv[2] }] })
  .run()
  .then(({ port }) => console.log('port ' + port));
`;

/** @param folder that it keeps objects in */
export async function startS3(folder: string, bucket: string): Promise<S3Server> {
  const child = spawn(process.execPath, ['-e', SERVER, folder, bucket], { stdio: ['ignore', 'pipe', 'inherit'] });
  const port = await new Promise<string>((resolve, reject) => {
    let printed = '';
    child.stdout.on('data', (text: Buffer) => {
      printed += text.toString();
      const [, own] = /port (\d+)/.exec(printed) ?? [];
      if (own !== undefined) {
        resolve(own);
      }
    });
    child.on('error', reject);
    child.on('close', () => {
      reject(new Error(printed));
    });
  });
  return {
    env: {
      AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}`,
      AWS_ACCESS_KEY_ID: 'S3RVER',
      AWS_SECRET_ACCESS_KEY: 'S3RVER',
    },
    stop: async () => {
      child.kill('SIGKILL');
      await wait(50);
    },
  };
}
