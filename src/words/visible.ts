/**
 * Text that may hold what a file says, for places that act on more than letters: a terminal's control characters, marks
 * that turn the direction of text, and the commands that CI services read from what a job prints.
 */

/** C0 but for tab and line feed, delete, C1, and marks of direction and line ends beyond those. */
// eslint-disable-next-line no-control-regex -- control characters are what this is about
const ACTING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
/** GitHub's and Azure's commands. */
const COMMAND = /^\s*:(?=:)|#(?=#(?:vso)?\[)/gm;

/** Each such character as `\u` and four hexadecimal digits, which JSON reads as the same character. */
export function visible(text: string): string {
  return visibleOnPage(text).replace(COMMAND, (found: string) => found.slice(0, -1) + codeOf(found.slice(-1)));
}

/** For pages, files and the clipboard, where no CI service looks for commands. */
export function visibleOnPage(text: string): string {
  return text.replace(ACTING, codeOf);
}

/** What VS Code makes a link of, which runs a command when its address says so. */
const LINK = /\](?=\()/g;
/** What VS Code draws as an icon. */
const ICON = /\\?\$(?=\([a-z0-9-]+(?:~[a-z]+)?\))/gi;

/** For notifications of VS Code, where a file's name could be a button. */
export function visibleInNotification(text: string): string {
  return visible(text).replace(LINK, '] ');
}

/** For lists of VS Code, where a file's name could have an icon that says something else than the list. */
export function visibleInList(text: string): string {
  return visible(text).replace(ICON, '\\$');
}

function codeOf(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
