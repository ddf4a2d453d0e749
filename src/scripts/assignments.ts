import type { SyntaxNode } from '@lezer/common';
import { countBefore } from './ordered.js';

/** What the names of a function are given, found by name: a script may have as many names as lines. */

export interface Assignment {
  readonly targets: readonly string[];
  readonly value: SyntaxNode;
  readonly from: number;
  readonly statement: SyntaxNode;
}

export class Assignments {
  /** In the order of the text. */
  readonly all: Assignment[] = [];
  private readonly byName = new Map<string, Assignment[]>();
  /** Assignments to one name alone; null where there are several. */
  private readonly single = new Map<string, Assignment | null>();

  /** @param assignment behind all that were added before */
  add(assignment: Assignment): void {
    const { targets } = assignment;
    this.all.push(assignment);
    for (const name of new Set(targets)) {
      const own = this.byName.get(name);
      if (own) {
        own.push(assignment);
      } else {
        this.byName.set(name, [assignment]);
      }
    }
    const [only] = targets;
    if (only !== undefined && targets.length === 1) {
      this.single.set(only, this.single.has(only) ? null : assignment);
    }
  }

  /** Those with this name among their targets. */
  to(name: string): readonly Assignment[] {
    return this.byName.get(name) ?? [];
  }

  /** The assignment to this name alone; null where there are several, undefined where there is none. */
  onlyTo(name: string): Assignment | null | undefined {
    return this.single.get(name);
  }

  /** The last one to a name that begins before an offset. */
  lastBefore(name: string, offset: number): Assignment | undefined {
    const own = this.to(name);
    return own[countBefore(own, offset) - 1];
  }
}
