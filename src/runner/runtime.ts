/**
 * Which runtime the child process gets: a real Node where there is one, because Electron as Node has a
 * smaller heap and refuses some native modules. The decision is a pure function of what was found.
 */

export interface RuntimeFacts {
  /** The user's setting, empty when unset. */
  readonly configured: string;
  readonly execPath: string;
  /** `process.versions.electron`. ELECTRON_RUN_AS_NODE says nothing: remote hosts set it on plain Node. */
  readonly electron: string | undefined;
  /** Path of `node` on PATH, undefined when there is none. */
  readonly onPath: string | undefined;
}

export interface NodeProbe {
  readonly version: string;
}

export interface RuntimeChoice {
  readonly executable: string;
  readonly kind: 'configured' | 'host' | 'path' | 'electron';
  /** One line per candidate, taken or not, with its reason. */
  readonly reasons: readonly string[];
}

const OLDEST_NODE = 20;

/**
 * @param probe runs `executable` and tells its version; rejects when it is not a working Node
 * @throws Error when the user's own setting does not work: falling back silently would hide the mistake
 */
export async function chooseRuntime(
  facts: RuntimeFacts,
  probe: (executable: string) => Promise<NodeProbe>,
): Promise<RuntimeChoice> {
  const reasons: string[] = [];
  if (facts.configured !== '') {
    const problem = await problemOf(facts.configured, probe);
    if (problem !== undefined) {
      throw new Error(
        `The setting gradleak.runtime.nodePath is "${facts.configured}", but ${problem}. Correct or clear it.`,
      );
    }
    return { executable: facts.configured, kind: 'configured', reasons: [`${facts.configured}: taken, as configured`] };
  }
  if (facts.electron === undefined) {
    return {
      executable: facts.execPath,
      kind: 'host',
      reasons: [`${facts.execPath}: taken, the host is a plain Node`],
    };
  }
  reasons.push(`${facts.execPath}: kept as last resort, it is Electron ${facts.electron}`);
  if (facts.onPath !== undefined) {
    const problem = await problemOf(facts.onPath, probe);
    if (problem === undefined) {
      return { executable: facts.onPath, kind: 'path', reasons: [...reasons, `${facts.onPath}: taken, found on PATH`] };
    }
    reasons.push(`${facts.onPath}: not taken, ${problem}`);
  } else {
    reasons.push('node: not found on PATH');
  }
  return { executable: facts.execPath, kind: 'electron', reasons: [...reasons, `${facts.execPath}: taken, as Node`] };
}

async function problemOf(
  executable: string,
  probe: (executable: string) => Promise<NodeProbe>,
): Promise<string | undefined> {
  try {
    const { version } = await probe(executable);
    const major = Number(/^v?(\d+)\./.exec(version)?.[1]);
    return major >= OLDEST_NODE ? undefined : `it is version ${version} and ${OLDEST_NODE} or later is needed`;
  } catch (error) {
    return `it cannot be run (${error instanceof Error ? error.message : String(error)})`;
  }
}

/**
 * Arguments of the child's Node. Stack traces name the sources where a build has maps; GRADLEAK_INSPECT opens a port for a
 * debugger (CONTRIBUTING.md).
 */
export function childArguments(script: string, env: Readonly<Record<string, string | undefined>>): string[] {
  const port = env.GRADLEAK_INSPECT;
  return ['--enable-source-maps', ...(port !== undefined && /^\d+$/.test(port) ? [`--inspect=${port}`] : []), script];
}

/** The child's environment: Electron needs the switch, a real Node must not inherit it. */
export function runtimeEnvironment(
  kind: RuntimeChoice['kind'],
  env: Readonly<Record<string, string | undefined>>,
): Record<string, string | undefined> {
  const { ELECTRON_RUN_AS_NODE: _switch, NODE_OPTIONS: _options, ...rest } = env;
  return kind === 'electron' ? { ...rest, ELECTRON_RUN_AS_NODE: '1' } : rest;
}
