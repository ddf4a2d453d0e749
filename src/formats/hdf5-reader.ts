import { setFlagsFromString } from 'node:v8';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '../protocol/errors.js';
import type { Hdf5Answer } from './hdf5.js';
import { answerAndExit, endWithParent } from './throw-away-process.js';

/**
 * Entry of the process that reads one HDF5 file. The library runs in a thread, so that the process still notices when nobody
 * waits for it any more.
 */

/** WebAssembly's memory, in pages of 64 KiB; the library itself would grow to 2 GiB. */
const MOST_PAGES = 4096;
const MOST_HEAP_MB = 512;

interface Wanted {
  readonly path: string;
  readonly attribute: string;
  readonly maxBytes: number;
}

function superviseReading(): void {
  endWithParent();
  setFlagsFromString(`--wasm-max-mem-pages=${MOST_PAGES}`);
  const [path, attribute, maxBytes] = process.argv.slice(2);
  const worker = new Worker(process.argv[1] ?? '', {
    workerData: { path, attribute, maxBytes: Number(maxBytes) },
    resourceLimits: { maxOldGenerationSizeMb: MOST_HEAP_MB },
  });
  worker.once('message', answerAndExit);
  worker.once('error', (error) => {
    answerAndExit({ found: failing(error) });
  });
}

async function read({ path, attribute, maxBytes }: Wanted): Promise<Hdf5Answer> {
  const { File, ready } = await import('h5wasm/node');
  await ready;
  try {
    const file = new File(path, 'r');
    const own = file.attrs[attribute];
    if (!own) {
      return { text: null };
    }
    const { size, total_size } = own.metadata;
    if (size * total_size > maxBytes) {
      return { found: `a ${attribute} of ${size * total_size} bytes` };
    }
    const text = file.get_attribute(attribute, true);
    if (typeof text !== 'string') {
      return { text: null };
    }
    return text.length > maxBytes ? { found: `a ${attribute} of ${text.length} characters` } : { text };
  } catch (error) {
    return { found: failing(error) };
  }
}

function failing(error: unknown): string {
  return `a file that the HDF5 library fails on (${messageOf(error).split('\n')[0] ?? ''})`;
}

if (isMainThread) {
  superviseReading();
} else {
  void read(workerData as Wanted).then((answer) => parentPort?.postMessage(answer));
}
