import { Malformed } from '../../errors/malformed.ts';

/**
 * Words, commands and `${…}` of one line of iPXE script. Source: iPXE `src/core/exec.c` (splitting),
 * `src/core/settings.c` (expansion), as of 2026-08.
 *
 * The order matters and is a safety fact: iPXE splits a line into words *first*, looks for `#`, `||`, `&&`
 * and `;` among those raw words, and expands each word for itself afterwards. A setting's value can thus
 * never become a second word, a second command or a comment, however hostile the DHCP server. It can become
 * a command's name, an option (`--keep`), or several words of a kernel command line, which is one string.
 * There are no quotes and no escapes.
 */

/** What iPXE's `isspace` takes for white space. */
const SPACE = /[ \f\n\r\t\v]+/;

export type Terminator = '||' | '&&' | ';';

/** One command of a line, with its words as they stand in the script. */
export interface Command {
  /**
   * Which terminator stands before it: after `||` it runs only when the last command *that ran* failed,
   * after `&&` only when that succeeded, after `;` and at the start of the line always.
   */
  readonly after: Terminator | undefined;
  /**
   * Words, `${…}` unexpanded; the first is the command's name. May be empty: iPXE counts an empty command
   * as a success, which is why `imgverify … ||` at the end of a line swallows the failure.
   */
  readonly words: readonly string[];
}

/** The commands of one line, and the comment that ended it (from `#` on), if any. */
export interface Commands {
  readonly commands: readonly Command[];
  readonly comment: string | undefined;
}

/** Splits at white space. `${a b}` is two words, neither of which expands. */
export function tokenise(text: string): readonly string[] {
  return text.split(SPACE).filter((word) => word !== '');
}

/** Splits a line (without its label) into commands, as iPXE's `system()` does. Never throws. */
export function splitCommands(text: string): Commands {
  const commands: Command[] = [];
  const all = tokenise(text);
  let after: Terminator | undefined;
  let words: string[] = [];
  for (const [index, word] of all.entries()) {
    if (word.startsWith('#')) {
      commands.push({ after, words });
      return { commands: meaningful(commands), comment: all.slice(index).join(' ') };
    }
    if (word === '||' || word === '&&' || word === ';') {
      commands.push({ after, words });
      after = word;
      words = [];
    } else {
      words.push(word);
    }
  }
  commands.push({ after, words });
  return { commands: meaningful(commands), comment: undefined };
}

/** A blank line has no commands; any other empty command means something and stays. */
function meaningful(commands: readonly Command[]): readonly Command[] {
  return commands.length === 1 && commands[0]?.words.length === 0 ? [] : commands;
}

/** A setting's name taken apart: `[scope/]name[:type]`. */
export interface SettingName {
  /** Settings block: `net0`, `net0.dhcp`, `smbios`; undefined when every block is searched in turn. */
  readonly scope: string | undefined;
  readonly name: string;
  readonly type: string | undefined;
}

/** Takes apart what stands between `${` and `}`. Every string is some name; whether it exists is not asked. */
export function parseSettingName(text: string): SettingName {
  const slash = text.indexOf('/');
  const rest = text.slice(slash + 1);
  const colon = rest.indexOf(':');
  return {
    scope: slash < 0 ? undefined : text.slice(0, slash),
    name: colon < 0 ? rest : rest.slice(0, colon),
    type: colon < 0 ? undefined : rest.slice(colon + 1),
  };
}

/** One `${…}` as it stands in a script. */
export interface Expansion extends SettingName {
  /** The whole of it, `${` and `}` included. */
  readonly text: string;
  /**
   * True when which setting this names depends on another setting's value: `${a${b}}`, `$${b}`, or a `${`
   * that only a value could close. What it expands to cannot be known from the script.
   */
  readonly dynamic: boolean;
}

/**
 * Which settings a word or a whole line uses, in the order of their closing braces. A line is split into
 * words first, as iPXE does.
 */
export function expansions(text: string): readonly Expansion[] {
  return tokenise(text).flatMap(expansionsOfWord);
}

function expansionsOfWord(word: string): readonly Expansion[] {
  const found: Expansion[] = [];
  const open: { at: number; dynamic: boolean }[] = [];
  for (let at = 0; at < word.length; at += 1) {
    if (word.startsWith('${', at)) {
      const outer = open.at(-1);
      if (outer !== undefined) outer.dynamic = true;
      open.push({ at, dynamic: word[at - 1] === '$' });
    } else if (word[at] === '}') {
      const inner = open.pop();
      if (inner === undefined) continue;
      found.push({
        text: word.slice(inner.at, at + 1),
        ...parseSettingName(word.slice(inner.at + 2, at)),
        dynamic: inner.dynamic,
      });
    }
  }
  // Only a brace that comes out of a value can close these: nothing is known about them.
  if (found.length > 0) {
    for (const { at } of open) {
      found.push({ text: word.slice(at), ...parseSettingName(word.slice(at + 2)), dynamic: true });
    }
  }
  return found;
}

/** Expansions after which a word is taken for one that expands for ever (iPXE itself would hang). */
const MAX_EXPANSIONS = 1024;
/** Characters of one expanded word. The kernel's own command line ends at 2047. */
const MAX_EXPANDED = 65536;

/**
 * Expands one word as iPXE does: the innermost `${…}` before the first `}` is replaced, and the *result* is
 * read again from its start, so that a value which holds `${…}` is expanded too. A setting that does not
 * exist is the empty string. Throws `Malformed` where iPXE would never come to an end.
 *
 * @param spend told of the bytes that each turn reads, the first before anything is done; it may throw. One
 * word is bounded, and a script has many.
 */
export function expandWord(
  word: string,
  lookup: (name: SettingName) => string | undefined,
  spend: (octets: number) => void = () => undefined,
): string {
  let text = word;
  for (let turn = 0; turn < MAX_EXPANSIONS; turn += 1) {
    spend(text.length);
    // The innermost one: the last `${` before the first `}` that has any `${` before it.
    const first = text.indexOf('${');
    const end = first < 0 ? -1 : text.indexOf('}', first);
    if (end < 0) return text;
    const start = text.lastIndexOf('${', end - 1);
    const value = lookup(parseSettingName(text.slice(start + 2, end))) ?? '';
    text = text.slice(0, start) + value + text.slice(end + 1);
    if (text.length > MAX_EXPANDED)
      throw new Malformed('iPXE script', `a word expands beyond ${MAX_EXPANDED} bytes`);
  }
  throw new Malformed('iPXE script', 'a setting expands to itself without end');
}
