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
  return text.replace(ACTING, codeOf).replace(COMMAND, (found: string) => found.slice(0, -1) + codeOf(found.slice(-1)));
}

function codeOf(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
