import { StreamMessageReader, StreamMessageWriter, createMessageConnection } from 'vscode-jsonrpc/node';
import { serveFrom } from '../formats/byte-source.js';
import { MIRROR_VARIABLE, MirroredFiles } from '../remote/remote-files.js';
import { S3Client } from '../remote/s3-client.js';
import { serve } from './server.js';

/** Entry of the child process that does the heavy work. Its standard output belongs to the protocol. */

const output = process.stdout;
// Anything printed by a library would break the protocol's framing, so it goes where the host logs it.
console.log = console.error;
console.info = console.error;

// Ctrl+C in a terminal reaches every process of the command; what it means here, the host says.
process.on('SIGINT', () => undefined);

// The host is gone when its end of the pipe closes; nobody would read a result.
process.stdin.once('end', () => process.exit(0));
process.stdin.once('close', () => process.exit(0));

// A mirror of an object store, which the host made: its files are read from the store.
const mirror = process.env[MIRROR_VARIABLE];
if (mirror !== undefined) {
  serveFrom(new MirroredFiles(mirror, new S3Client()));
}

serve(createMessageConnection(new StreamMessageReader(process.stdin), new StreamMessageWriter(output)));
