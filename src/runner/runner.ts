import { serveFrom } from '../formats/byte-source.js';
import { MIRROR_VARIABLE, MirroredFiles } from '../remote/remote-files.js';
import { S3Client } from '../remote/s3-client.js';
import { childConnection } from './child.js';
import { serve } from './server.js';

/** Entry of the child process that does the heavy work. Its standard output belongs to the protocol. */

const connection = childConnection();

// A mirror of an object store, which the host made: its files are read from the store.
const mirror = process.env[MIRROR_VARIABLE];
if (mirror !== undefined) {
  serveFrom(new MirroredFiles(mirror, new S3Client()));
}

serve(connection);
