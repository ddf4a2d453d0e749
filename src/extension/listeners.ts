/** Who is told of changes, where VS Code's own emitter cannot be: what uses this is tested without the editor. */
export class Listeners<T> {
  private readonly all = new Set<(event: T) => void>();

  readonly on = (listener: (event: T) => void): { dispose: () => void } => {
    this.all.add(listener);
    return { dispose: () => void this.all.delete(listener) };
  };

  tell(event: T): void {
    for (const listener of this.all) {
      listener(event);
    }
  }
}
