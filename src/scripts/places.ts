import type { SyntaxNode } from '@lezer/common';
import type { Outline } from './outline.js';

/** Lines that a statement can be put on. */

export interface Place {
  /** Offset of the line's start. */
  readonly at: number;
  readonly indent: string;
}

/** The line that a statement begins on; undefined where it has none of its own, as in `if done: loss.backward()`. */
export function placeBefore({ text }: Outline, statement: SyntaxNode | undefined): Place | undefined {
  if (!statement) {
    return undefined;
  }
  const at = text.lastIndexOf('\n', statement.from - 1) + 1;
  const indent = text.slice(at, statement.from);
  return /^[ \t]*$/.test(indent) ? { at, indent } : undefined;
}

/** The line after a statement. */
export function placeAfter(outline: Outline, statement: SyntaxNode): Place | undefined {
  const place = placeBefore(outline, statement);
  const end = outline.text.indexOf('\n', statement.to);
  return place && end >= 0 ? { at: end + 1, indent: place.indent } : undefined;
}

export function statementsOf(body: SyntaxNode | null): SyntaxNode[] {
  const found: SyntaxNode[] = [];
  for (let child = body?.firstChild ?? null; child; child = child.nextSibling) {
    if (child.name !== ':' && child.name !== 'Comment') {
      found.push(child);
    }
  }
  return found;
}

/** The statement that a node is in. */
export function statementOf(node: SyntaxNode): SyntaxNode {
  let own = node;
  while (own.parent && own.parent.name !== 'Body' && own.parent.name !== 'Script') {
    own = own.parent;
  }
  return own;
}
