import manifest from '../../package.json' with { type: 'json' };

/** The product's version, as its package says. */
export const TOOL_VERSION: string = manifest.version;
