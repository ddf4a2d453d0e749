import { runCli } from '../src/cli/main.js';

/** Runs the command in this process, as in a terminal of unknown width that nobody cancels in. */
export async function cli(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return cliUntil(() => false, ...args);
}

/** @param cancelled whether the user has asked to stop */
export async function cliUntil(
  cancelled: () => boolean,
  ...args: string[]
): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const code = await runCli(args, {
    print: (text) => (out += text),
    printError: (text) => (err += text),
    progress: () => undefined,
    cancelled,
    columns: undefined,
  });
  return { code, out, err };
}
