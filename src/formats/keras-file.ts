import { extname } from 'node:path';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import { openFile } from './byte-source.js';
import { looksLikeZip, openZip } from './zip.js';

/** The architecture inside of Keras files: `config.json` in a `.keras` archive, an attribute of the root in HDF5. */

const MAX_CONFIG_BYTES = 64 * 2 ** 20;

/**
 * @returns the architecture as parsed JSON
 * @throws UnusableInputError when the file holds none
 */
export async function readKerasModel(path: string): Promise<unknown> {
  const text = extname(path).toLowerCase() === '.keras' ? configInArchive(path) : await configInHdf5(path);
  try {
    return JSON.parse(text);
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

async function configInHdf5(path: string): Promise<string> {
  const { File, ready } = await import('h5wasm/node');
  await ready;
  let file: InstanceType<typeof File>;
  try {
    file = new File(path, 'r');
  } catch (error) {
    throw bad(path, messageOf(error));
  }
  try {
    const value: unknown = file.get_attribute('model_config', true);
    if (typeof value !== 'string') {
      throw bad(path, 'no model_config, as files of weights alone have none');
    }
    return value;
  } finally {
    file.close();
  }
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
