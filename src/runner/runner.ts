import { StreamMessageReader, StreamMessageWriter, createMessageConnection } from 'vscode-jsonrpc/node';
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

serve(createMessageConnection(new StreamMessageReader(process.stdin), new StreamMessageWriter(output)));
