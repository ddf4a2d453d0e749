import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CancelledError } from '../protocol/errors.js';
import { EngineError, type EngineId } from './engine.js';

/**
 * TensorFlow.js for Node where its own install step cannot download libtensorflow: its binding is compiled here, against the library
 * that PyPI's tensorflow holds. Needs npm, Python with pip, and g++; Linux alone.
 */

export interface TfjsBuild {
  readonly id: Extract<EngineId, 'tfjs-node' | 'tfjs-node-gpu'>;
  /** Absolute; empty or of an earlier build, which is gone on with. */
  readonly folder: string;
  readonly python: string;
  /** Ends it, with everything that it started. */
  readonly signal?: AbortSignal;
  readonly say: (line: string) => void;
}

/** 2.15 is the last whose headers this binding compiles against without changes; for CUDA it needs 12.2 and cuDNN 8.9. */
const TENSORFLOW = { 'tfjs-node': 'tensorflow-cpu==2.15.1', 'tfjs-node-gpu': 'tensorflow==2.15.1' } as const;
const TFJS_VERSION = '4.22.0';
/** Of N-API, which Node 20 to 24 have. */
const HEADERS = 'node-api-headers@1.9.0';
const LIBRARIES = ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'];

/** Of a wheel, which is a zip: what the binding needs and no more. */
const EXTRACT = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in wheel.namelist():
        if name in ("tensorflow/${LIBRARIES.join('", "tensorflow/')}") or (
            name.startswith(("tensorflow/include/tensorflow/c/", "tensorflow/include/tensorflow/core/platform/", "tensorflow/include/tsl/"))
            and name.endswith(".h")
        ):
            wheel.extract(name, sys.argv[2])
`;

/** @returns the folder, whose node_modules then holds the package @throws EngineError with what is missing, CancelledError */
export async function buildTfjsNode(build: TfjsBuild): Promise<string> {
  const { id, folder, python } = build;
  if (process.platform !== 'linux') {
    throw new EngineError('it can be compiled on Linux only; elsewhere its own install step has to reach its server');
  }
  mkdirSync(folder, { recursive: true });
  const name = `@tensorflow/${id}`;
  const own = join(folder, 'node_modules', '@tensorflow', id);
  if (!existsSync(join(folder, 'package.json'))) {
    writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
  }
  await run(build, 'npm', [
    'install',
    '--no-audit',
    '--no-fund',
    '--ignore-scripts',
    `${name}@${TFJS_VERSION}`,
    HEADERS,
  ]);
  const deps = join(own, 'deps');
  if (!LIBRARIES.every((library) => existsSync(join(deps, 'lib', library)))) {
    const wheels = join(folder, 'wheel');
    await run(build, python, [
      '-m',
      'pip',
      'download',
      '--no-deps',
      '--only-binary=:all:',
      '-d',
      wheels,
      TENSORFLOW[id],
    ]);
    const wheel = readdirSync(wheels).find((file) => file.endsWith('.whl'));
    if (wheel === undefined) {
      throw new EngineError(`pip found no wheel of ${TENSORFLOW[id]} for this Python; versions 3.9 to 3.11 have one`);
    }
    await run(build, python, ['-c', EXTRACT, join(wheels, wheel), join(folder, 'wheel')]);
    mkdirSync(join(deps, 'lib'), { recursive: true });
    rmSync(join(deps, 'include'), { recursive: true, force: true });
    renameSync(join(folder, 'wheel', 'tensorflow', 'include'), join(deps, 'include'));
    for (const library of LIBRARIES) {
      renameSync(join(folder, 'wheel', 'tensorflow', library), join(deps, 'lib', library));
    }
  }
  const lib = join(own, 'lib', 'napi-v8');
  mkdirSync(lib, { recursive: true });
  await run(build, 'g++', [
    '-shared',
    '-fPIC',
    '-O2',
    '-std=c++17',
    '-DNAPI_VERSION=8',
    `-I${own}`,
    `-I${join(deps, 'include')}`,
    `-I${join(folder, 'node_modules', 'node-api-headers', 'include')}`,
    join(own, 'binding', 'tfjs_backend.cc'),
    join(own, 'binding', 'tfjs_binding.cc'),
    `-L${join(deps, 'lib')}`,
    ...LIBRARIES.map((library) => `-l:${library}`),
    '-Wl,-rpath,$ORIGIN/../../deps/lib',
    '-o',
    join(lib, 'tfjs_binding.node'),
  ]);
  return folder;
}

async function run({ folder, signal, say }: TfjsBuild, command: string, args: readonly string[]): Promise<void> {
  say(`${command} ${args.slice(0, 4).join(' ')} ...`);
  await new Promise<void>((resolve, reject) => {
    const child = spawn(command, args, { cwd: folder, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    let last = '';
    const hear = (text: Buffer): void => {
      last = `${last}${text.toString()}`.slice(-2000);
      say(text.toString().trimEnd());
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    const stop = (): void => {
      if (child.pid !== undefined) {
        // With what it started.
        process.kill(-child.pid, 'SIGKILL');
      }
    };
    signal?.addEventListener('abort', stop);
    child.on('error', (error) => {
      reject(new EngineError(`${command} could not be started (${error.message}); it is needed to compile the engine`));
    });
    child.on('close', (code) => {
      signal?.removeEventListener('abort', stop);
      if (code === 0) {
        resolve();
      } else if (signal?.aborted === true) {
        reject(new CancelledError());
      } else {
        reject(new EngineError(`${command} ended with ${code ?? 'a signal'}: ${last.trim().split('\n').at(-1) ?? ''}`));
      }
    });
  });
}
