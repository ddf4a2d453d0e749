import type { MessageConnection } from 'vscode-jsonrpc';
import { StreamMessageReader, StreamMessageWriter, createMessageConnection } from 'vscode-jsonrpc/node';

/** A child process of the protocol: what each of them has to see to before it answers anything. */

/** Keeps the standard streams for the protocol, and ends with the host. @returns what to answer on, not yet listening */
export function childConnection(): MessageConnection {
  const output = process.stdout;
  // Anything printed by a library would break the protocol's framing, so it goes where the host logs it.
  console.log = console.error;
  console.info = console.error;

  // Ctrl+C in a terminal reaches every process of the command; what it means here, the host says.
  process.on('SIGINT', () => undefined);

  // The host is gone when its end of the pipe closes; nobody would read a result.
  process.stdin.once('end', () => process.exit(0));
  process.stdin.once('close', () => process.exit(0));
  return createMessageConnection(new StreamMessageReader(process.stdin), new StreamMessageWriter(output));
}
