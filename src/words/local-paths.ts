/** Pages that are passed on say what a file is called, and not where it lies on the machine that made them. */

/** What an audit's sentences name: a path ends in one of these, where nothing else tells its end. */
const FILE =
  /(?<![\p{L}\p{N}_.~\-\\/:])(?:[A-Za-z]:)?[\\/]{1,2}(?:[^\\/\n"'<>|*?:]{1,255}[\\/]{1,2}){1,64}?([^\\/\s"'<>|*?:]{1,255}?\.(?:pt|pth|bin|ckpt|safetensors|npz|npy|onnx|keras|h5|json|txt|py|ipynb))(?![\p{L}\p{N}_])/gu;

/**
 * The same value with every absolute path in its texts relative to the first of these folders that holds it, or as a base
 * name.
 *
 * @param folders absolute, the project's first
 * @param home the user's folder, whose name is the user's: `~` where a path in it is left
 */
export function withoutLocalPaths<T>(value: T, folders: readonly string[], home: string): T {
  const rules = [...new Set(folders)].filter(hasName).map(ruleOf);
  const atHome = hasName(home) ? ruleOf(home).itself : undefined;
  const shorten = (text: string): string => {
    const short = rules
      .reduce((own, { within, itself, name }) => own.replace(within, '').replace(itself, () => name), text)
      .replace(FILE, '$1');
    return atHome ? short.replace(atHome, '~') : short;
  };
  return JSON.parse(JSON.stringify(value, (_key, own: unknown) => (typeof own === 'string' ? shorten(own) : own))) as T;
}

/** No drive and no root, which hold every path. */
function hasName(folder: string): boolean {
  return /[\\/][^\\/]/.test(folder);
}

function ruleOf(folder: string): { within: RegExp; itself: RegExp; name: string } {
  const path = folder.replace(/[\\/]+$/, '');
  const text = path.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
  const start = `(?<![\\p{L}\\p{N}_.~\\-\\\\/])${text}`;
  return {
    within: new RegExp(`${start}[\\\\/]+`, 'gu'),
    itself: new RegExp(`${start}(?![\\p{L}\\p{N}_\\-]|\\.[\\p{L}\\p{N}])`, 'gu'),
    name: path.split(/[\\/]/).at(-1) ?? '',
  };
}
