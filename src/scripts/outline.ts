import type { SyntaxNode, Tree } from '@lezer/common';
import { type Assignment, Assignments } from './assignments.js';

/** What of a block of a script matters here: classes, functions, assignments and calls, with names resolved through imports. */

export interface Argument {
  /** Keyword, `*` or `**`; undefined for a positional argument. */
  readonly name: string | undefined;
  readonly node: SyntaxNode;
  readonly text: string;
}

export interface Call {
  readonly node: SyntaxNode;
  readonly from: number;
  /** What is called as written: `torch.load`, `scaler.scale(loss).backward`. */
  readonly callee: string;
  /** The same with import aliases replaced: `torch.nn.functional.cross_entropy` for `F.cross_entropy`; empty for what is too long for a name. */
  readonly qualified: string;
  /** Last part of the name: `backward`; empty for what is too long for one. */
  readonly method: string;
  /** What the method is called on, undefined for a plain name. */
  readonly receiver: string | undefined;
  readonly args: readonly Argument[];
  readonly scope: Scope;
  /** Names that the call's value is assigned to directly. */
  readonly targets: readonly string[];
}

/** A function, or the module outside of all. */
export interface Scope {
  readonly name: string;
  readonly node: SyntaxNode;
  readonly parameters: readonly string[];
  readonly owner: ClassOutline | undefined;
  readonly parent: Scope | undefined;
  readonly assignments: Assignments;
  /** In the order of the text; those of functions within are theirs. */
  readonly calls: Call[];
}

export interface ClassOutline {
  readonly name: string;
  readonly node: SyntaxNode;
  /** Base classes with import aliases replaced. */
  readonly bases: readonly string[];
  readonly methods: Scope[];
}

/** `with tf.GradientTape() as tape` */
export interface Manager {
  readonly qualified: string;
  readonly from: number;
}

/** A part of a script with its syntax tree. */
export interface Block {
  readonly text: string;
  readonly tree: Tree;
}

/** Local names to what they stand for. */
export type Imports = ReadonlyMap<string, string>;

/** Offsets are into the block's text. */
export interface Outline {
  readonly text: string;
  /** Of the whole script. */
  readonly imports: Imports;
  /** Names that were looked up among the imports. */
  readonly lookedUp: ReadonlySet<string>;
  readonly classes: readonly ClassOutline[];
  readonly scopes: readonly Scope[];
  readonly calls: readonly Call[];
  /** By the offset of their end, which no two share. */
  readonly callEnding: ReadonlyMap<number, Call>;
  /** Functions that capture already. */
  readonly capturing: ReadonlySet<Scope>;
  /** The first context manager of each name. */
  readonly managers: ReadonlyMap<string, Manager>;
  /** The last `return` of each function that has one. */
  readonly returns: ReadonlyMap<Scope, SyntaxNode>;
}

/** What a block imports, in the order of the text. */
export function importsOf({ text, tree }: Block): Imports {
  const imports = new Map<string, string>();
  tree.iterate({
    enter({ name, from, to }) {
      if (name === 'ImportStatement') {
        readImport(text.slice(from, to), imports);
      }
      return name !== 'ImportStatement' && name !== 'String' && name !== 'Comment';
    },
  });
  return imports;
}

/** One walk over the tree. @param imports of the whole script */
export function outlineOf({ text, tree }: Block, imports: Imports): Outline {
  const lookedUp = new Set<string>();
  const classes: ClassOutline[] = [];
  const calls: Call[] = [];
  const managers = new Map<string, Manager>();
  const returns = new Map<Scope, SyntaxNode>();
  const top: Scope = {
    name: '',
    node: tree.topNode,
    parameters: [],
    owner: undefined,
    parent: undefined,
    assignments: new Assignments(),
    calls: [],
  };
  const scopes = [top];
  const slice = (node: SyntaxNode): string => text.slice(node.from, node.to);
  const qualify = (name: string): string => qualifyName(name, imports, lookedUp);
  const open: { node: { from: number; to: number }; scope?: Scope; owner?: ClassOutline }[] = [];
  let scope = top;
  let owner: ClassOutline | undefined;
  tree.iterate({
    enter(ref) {
      switch (ref.name) {
        case 'ImportStatement':
        case 'String':
        case 'Comment':
          return false;
        case 'ClassDefinition': {
          const { node } = ref;
          const bases = argumentsOf(node.getChild('ArgList'), slice).flatMap(({ name, text: own }) =>
            name === undefined ? [qualify(own)] : [],
          );
          const name = node.getChild('VariableName');
          const own: ClassOutline = { name: name ? slice(name) : '', node, bases, methods: [] };
          classes.push(own);
          open.push({ node, scope, ...(owner ? { owner } : {}) });
          owner = own;
          break;
        }
        case 'FunctionDefinition': {
          const { node } = ref;
          const name = node.getChild('VariableName');
          const list = node.getChild('ParamList');
          const own: Scope = {
            name: name ? slice(name) : '',
            node,
            parameters: list ? list.getChildren('VariableName').map(slice) : [],
            owner,
            parent: scope,
            assignments: new Assignments(),
            calls: [],
          };
          scopes.push(own);
          owner?.methods.push(own);
          open.push({ node, scope, ...(owner ? { owner } : {}) });
          scope = own;
          // A function within a method is no method.
          owner = undefined;
          break;
        }
        case 'AssignStatement': {
          const own = assignmentOf(ref.node, slice);
          if (own) {
            scope.assignments.add(own);
          }
          break;
        }
        case 'WithStatement': {
          const { node } = ref;
          for (const call of node.getChildren('CallExpression')) {
            const as = call.nextSibling;
            const name = as?.name === 'as' ? as.nextSibling : null;
            const callee = call.firstChild;
            if (name && callee && !managers.has(slice(name))) {
              managers.set(slice(name), { qualified: qualify(slice(callee)), from: node.from });
            }
          }
          break;
        }
        case 'ReturnStatement':
          returns.set(scope, ref.node);
          break;
        case 'CallExpression': {
          const call = callOf(ref.node, scope, slice, qualify);
          if (call) {
            calls.push(call);
            scope.calls.push(call);
          }
          break;
        }
      }
      return undefined;
    },
    leave(ref) {
      const last = open.at(-1);
      if (
        last &&
        (ref.name === 'ClassDefinition' || ref.name === 'FunctionDefinition') &&
        last.node.from === ref.from &&
        last.node.to === ref.to
      ) {
        open.pop();
        scope = last.scope ?? top;
        owner = last.owner;
      }
    },
  });
  const callEnding = new Map(calls.map((call) => [call.node.to, call]));
  const capturing = new Set(
    calls.filter(({ callee }) => callee.startsWith('gradleak_capture.')).map(({ scope: own }) => own),
  );
  return { text, imports, lookedUp, classes, scopes, calls, callEnding, capturing, managers, returns };
}

/** Characters. A chain of thousands of calls has a name as long as itself at each of them. */
const MOST_NAME = 1000;

/** `F.cross_entropy` to `torch.nn.functional.cross_entropy`, where F was imported so. */
function qualifyName(name: string, imports: Imports, lookedUp: Set<string>): string {
  if (name.length > MOST_NAME) {
    return '';
  }
  const plain = name.replace(/\s+/g, '');
  const end = plain.search(/[.([]/);
  const head = end < 0 ? plain : plain.slice(0, end);
  lookedUp.add(head);
  const known = imports.get(head);
  return known === undefined ? plain : known + plain.slice(head.length);
}

/** The statement is short and flat, and its grammar has no room for surprises: no nesting, no strings. */
function readImport(statement: string, imports: Map<string, string>): void {
  const flat = statement
    .replace(/#[^\n]*/g, '')
    .replace(/[()\\\n\r]/g, ' ')
    .trim();
  const from = /^from\s+([\w.]+)\s+import\s+(.*)$/.exec(flat);
  const list = (from?.[2] ?? flat.replace(/^import\s+/, '')).split(',');
  for (const item of list) {
    const [name, alias] = item.trim().split(/\s+as\s+/);
    if (name === undefined || name === '' || name === '*') {
      continue;
    }
    if (from) {
      imports.set(alias ?? name, `${from[1] ?? ''}.${name}`);
    } else if (alias !== undefined) {
      imports.set(alias, name);
    } else {
      const [package_ = name] = name.split('.');
      imports.set(package_, package_);
    }
  }
}

function argumentsOf(list: SyntaxNode | null, slice: (node: SyntaxNode) => string): Argument[] {
  const found: Argument[] = [];
  let name: string | undefined;
  for (let child = list?.firstChild ?? null; child; child = child.nextSibling) {
    const kind = child.name;
    if (kind === '*' || kind === '**' || kind === 'ArithOp') {
      name = slice(child);
    } else if (kind === 'VariableName' && child.nextSibling?.name === 'AssignOp') {
      name = slice(child);
      child = child.nextSibling;
    } else if (kind !== '(' && kind !== ')' && kind !== ',' && kind !== 'Comment' && kind !== '⚠') {
      found.push({ name, node: child, text: slice(child) });
      name = undefined;
    }
  }
  return found;
}

/** Lezer's `getChild` walks up to the root first, which for calls within calls is far. */
function childNamed(node: SyntaxNode, name: string): SyntaxNode | null {
  let child = node.firstChild;
  while (child && child.name !== name) {
    child = child.nextSibling;
  }
  return child;
}

function callOf(
  node: SyntaxNode,
  scope: Scope,
  slice: (node: SyntaxNode) => string,
  qualify: (name: string) => string,
): Call | undefined {
  const callee = node.firstChild;
  if (!callee) {
    return undefined;
  }
  const text = slice(callee);
  const property = callee.name === 'MemberExpression' ? childNamed(callee, 'PropertyName') : null;
  const receiver = property ? callee.firstChild : null;
  const parent = node.parent;
  return {
    node,
    from: node.from,
    callee: text,
    qualified: qualify(text),
    method: property ? slice(property) : text.length > MOST_NAME ? '' : text,
    receiver: receiver ? slice(receiver) : undefined,
    args: argumentsOf(childNamed(node, 'ArgList'), slice),
    scope,
    targets: parent?.name === 'AssignStatement' ? (assignmentOf(parent, slice)?.targets ?? []) : [],
  };
}

/** The names left of the last `=` and the value right of it. */
function assignmentOf(statement: SyntaxNode, slice: (node: SyntaxNode) => string): Assignment | undefined {
  const value = statement.lastChild;
  const targets: string[] = [];
  let hasOperator = false;
  for (let child = statement.firstChild; child; child = child.nextSibling) {
    if (child.name === 'AssignOp') {
      hasOperator = true;
    } else if (
      child.from !== value?.from &&
      ['VariableName', 'MemberExpression', 'TupleExpression', 'ArrayExpression'].includes(child.name)
    ) {
      const inner = child.name.endsWith('Expression') && child.name !== 'MemberExpression';
      targets.push(...(inner ? namesIn(child, slice) : [slice(child)]));
    }
  }
  return value && hasOperator ? { targets, value, from: statement.from, statement } : undefined;
}

function namesIn(node: SyntaxNode, slice: (node: SyntaxNode) => string): string[] {
  return [...node.getChildren('VariableName'), ...node.getChildren('MemberExpression')]
    .sort((one, other) => one.from - other.from)
    .map(slice);
}

/** The argument at a position or with a keyword. */
export function argumentOf(call: Call, name: string, position?: number): Argument | undefined {
  const positional = call.args.filter((argument) => argument.name === undefined);
  return (
    call.args.find((argument) => argument.name === name) ?? (position === undefined ? undefined : positional[position])
  );
}

/**
 * A number written out, or a name that was given one at the top of the file or of the function.
 *
 * @param constants numbers that names of the top of the file stand for
 */
export function numberOf(
  outline: Outline,
  argument: Argument,
  scope: Scope,
  constants: ReadonlyMap<string, number>,
): number | undefined {
  if (argument.node.name !== 'VariableName') {
    return literalOf(argument.text);
  }
  for (let own: Scope = scope; own.parent; own = own.parent) {
    const only = own.assignments.onlyTo(argument.text);
    if (only !== undefined) {
      // Assigned twice, it may be either.
      return only ? literalOf(textOf(outline, only.value)) : undefined;
    }
  }
  return constants.get(argument.text);
}

/** Names that the top of the file is given in this block; null for one that is not a single number. */
export function constantsOf(outline: Outline): Map<string, number | null> {
  const constants = new Map<string, number | null>();
  for (const { targets, value } of outline.scopes[0]?.assignments.all ?? []) {
    const [name] = targets;
    if (name !== undefined && targets.length === 1) {
      constants.set(name, constants.has(name) ? null : (literalOf(textOf(outline, value)) ?? null));
    }
  }
  return constants;
}

function textOf({ text }: Outline, { from, to }: SyntaxNode): string {
  return text.slice(from, to);
}

const NUMBER = /^[+-]?[\d_]*\.?[\d_]*(e[+-]?\d+)?$/i;

function literalOf(text: string): number | undefined {
  const value = NUMBER.test(text) && /\d/.test(text) ? Number(text.replace(/_/g, '')) : NaN;
  return Number.isNaN(value) ? undefined : value;
}
