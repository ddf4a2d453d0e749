const ID = 'token-hint';

/**
 * One hint for all tokens of a list that have one: shown where the pointer or the keyboard is, hidden by Escape, and reached
 * by the pointer without closing. Tokens are one stop of the Tab key for each text; arrow keys go from one to the next.
 */
export class TokenHints {
  /** The token whose hint is shown. */
  private shown: HTMLElement | undefined;

  readonly point = ({ target }: Event): void => {
    const token = tokenAt(target);
    if (token) {
      this.show(token);
    } else if (!isIn(target, '.token-hint')) {
      this.hide();
    }
  };

  readonly leave = (): void => {
    this.hide();
  };

  readonly focus = ({ target }: Event): void => {
    const token = tokenAt(target);
    if (token) {
      for (const other of tokensBeside(token)) {
        other.tabIndex = other === token ? 0 : -1;
      }
      this.show(token);
    }
  };

  readonly blur = (): void => {
    this.hide();
  };

  readonly key = (event: KeyboardEvent): void => {
    const token = tokenAt(event.target);
    const tokens = token ? tokensBeside(token) : [];
    const at = token ? tokens.indexOf(token) : -1;
    const next: Partial<Record<string, number>> = {
      ArrowRight: at + 1,
      ArrowDown: at + 1,
      ArrowLeft: at - 1,
      ArrowUp: at - 1,
      Home: 0,
      End: tokens.length - 1,
    };
    const to = next[event.key];
    if (token && to !== undefined) {
      event.preventDefault();
      tokens[to]?.focus();
    }
  };

  /** Escape hides it wherever the keyboard is: the pointer may have opened it. */
  private readonly escape = (event: KeyboardEvent): void => {
    if (event.key === 'Escape') {
      this.hide();
    }
  };

  private show(token: HTMLElement): void {
    const list = token.closest<HTMLElement>('.texts');
    const hint = list?.querySelector<HTMLElement>('.token-hint');
    if (!list || !hint || this.shown === token) {
      return;
    }
    this.hide();
    hint.textContent = token.dataset.hint ?? '';
    hint.id = ID;
    hint.hidden = false;
    token.setAttribute('aria-describedby', ID);
    place(hint, token, list);
    this.shown = token;
    document.addEventListener('keydown', this.escape);
  }

  private hide(): void {
    const hint = this.shown?.closest('.texts')?.querySelector<HTMLElement>('.token-hint');
    this.shown?.removeAttribute('aria-describedby');
    this.shown = undefined;
    document.removeEventListener('keydown', this.escape);
    if (hint) {
      hint.hidden = true;
      hint.removeAttribute('id');
    }
  }
}

function isIn(target: EventTarget | null, selector: string): boolean {
  return target instanceof Element && target.closest(selector) !== null;
}

function tokenAt(target: EventTarget | null): HTMLElement | null {
  return target instanceof Element ? target.closest<HTMLElement>('.uncertain') : null;
}

function tokensBeside(token: HTMLElement): HTMLElement[] {
  return [...(token.closest('.text')?.querySelectorAll<HTMLElement>('.uncertain') ?? [])];
}

/**
 * Right below the token, or above it where no room is seen below, within the list's width. It touches the token, so that the
 * pointer gets there, and scrolls with the list.
 */
function place(hint: HTMLElement, token: HTMLElement, list: HTMLElement): void {
  const [around, own] = [list.getBoundingClientRect(), token.getClientRects()[0] ?? token.getBoundingClientRect()];
  const [highest, lowest] = [Math.max(around.top, 0), Math.min(around.bottom, window.innerHeight)];
  const isAbove = own.bottom + hint.offsetHeight > lowest && own.top - hint.offsetHeight > highest;
  const top = isAbove ? own.top - hint.offsetHeight : own.bottom;
  const left = Math.max(0, Math.min(own.left - around.left, list.clientWidth - hint.offsetWidth));
  hint.style.top = `${top - around.top - list.clientTop + list.scrollTop}px`;
  hint.style.left = `${left}px`;
}
