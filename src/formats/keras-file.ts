import { extname } from 'node:path';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import { openFile } from './byte-source.js';
import { readHdf5Text } from './hdf5.js';
import { parseJson } from './json-file.js';
import { looksLikeZip, openZip } from './zip.js';

/** The architecture inside of Keras files: `config.json` in a `.keras` archive, an attribute of the root in HDF5. */

const MAX_CONFIG_BYTES = 64 * 2 ** 20;

export interface KerasReading {
  /** Called while it is waited for; what it throws ends the reading. */
  readonly pause?: () => Promise<void>;
  readonly deadlineMs?: number;
}

/**
 * @returns the architecture as parsed JSON
 * @throws UnusableInputError when the file holds none, or cannot be read in time; what `pause` throws
 */
export async function readKerasModel(path: string, options: KerasReading = {}): Promise<unknown> {
  const text = extname(path).toLowerCase() === '.keras' ? configInArchive(path) : await configInHdf5(path, options);
  try {
    return parseJson(Buffer.from(text));
  } catch (error) {
    throw bad(path, messageOf(error));
  }
}

function configInArchive(path: string): string {
  const source = openFile(path);
  try {
    if (!looksLikeZip(source)) {
      throw bad(path, 'no zip archive');
    }
    const archive = openZip(source);
    const entry = archive.entries.get('config.json');
    if (!entry) {
      throw bad(path, 'no config.json');
    }
    if (entry.size > MAX_CONFIG_BYTES) {
      throw bad(path, `a config.json of ${entry.size} bytes`);
    }
    return new TextDecoder().decode(archive.open(entry).read(0, entry.size));
  } finally {
    source.close();
  }
}

/** The first bytes of every HDF5 file. */
const HDF5_SIGNATURE = [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a];

async function configInHdf5(path: string, options: KerasReading): Promise<string> {
  const source = openFile(path);
  const start = source.read(0, Math.min(8, source.size));
  source.close();
  if (!HDF5_SIGNATURE.every((byte, index) => start[index] === byte)) {
    throw bad(path, 'no HDF5 file');
  }
  const text = await readHdf5Text(path, 'model_config', { maxBytes: MAX_CONFIG_BYTES, ...options });
  if (text === undefined) {
    throw bad(path, 'no model_config, as files of weights alone have none');
  }
  return text;
}

function bad(file: string, found: string): UnusableInputError {
  return new UnusableInputError({
    code: 'malformed-file',
    file,
    found,
    expected: 'a Keras model with its architecture',
    advice: 'Save it with model.save("model.keras"), or give its model.json.',
  });
}
