/**
 * Waits for some work no longer than until it is told to stop: a server that is away answers when it is back, which who
 * wants to stop does not wait for.
 *
 * @throws AbortError when the signal says so; what becomes of the work then, nobody hears
 */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let abort = (): void => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    abort = () => {
      reject(new DOMException('Stopped.', 'AbortError'));
    };
    signal.addEventListener('abort', abort);
    if (signal.aborted) {
      abort();
    }
  });
  work.catch(() => undefined);
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
