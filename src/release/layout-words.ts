import { UsageError } from '../errors/usage.ts';
import type { FreeParameter } from '../formats/script/cmdline.ts';
import { isCommandLineWord, lastValue } from '../formats/script/cmdline.ts';
import { SERVER_PARAMETER } from './layouts/draft.ts';
import type { LayoutKind } from './layouts/kind.ts';

/** What sealing asks of the words of a command line, and adds to them. */

/** Where a system would want a character that no sealed line has, what does the same without it. */
const WAYS_OUT: readonly (readonly [characters: RegExp, way: string])[] = [
  [
    /[;'"`|<>]/,
    'what such a word configures can ride in an initrd instead: put it into a file and name that with --pack',
  ],
  [
    /[?&${}]/,
    'where a machine shall have a file of its own, give each a path of its own, or one file to all of them with --pack',
  ],
];

/** @throws UsageError for a word with characters that none may have; it names the way out where there is one. */
export function demandWords(words: readonly string[]): void {
  const bad = words.find((word) => !isCommandLineWord(word));
  if (bad === undefined) return;
  const way = WAYS_OUT.find(([characters]) => characters.test(bad))?.[1];
  throw new UsageError(
    `The kernel command line holds ${JSON.stringify(bad)}, which is not allowed; letters, digits and ._:,=/@%+[]- are${way === undefined ? '' : `, and ${way}`}.`,
  );
}

/**
 * Systems differ in which of two they take, the first or the last, so a line with both says two things.
 *
 * @throws UsageError
 */
export function demandFetchedOnce(words: readonly string[], kind: LayoutKind): void {
  const keys = words.map((word) => /^[^=]*/.exec(word)?.[0] ?? '');
  const known = [kind, ...(kind.includes ?? [])].flatMap(({ fetches }) => fetches);
  const twice = known.find(({ key, several }) => !several && keys.indexOf(key) !== keys.lastIndexOf(key));
  if (!twice) return;
  throw new UsageError(
    `${twice.key} stands twice on the command line, and names ${twice.what} both times; leave one of them out.`,
  );
}

/** An overlay that is not told its server has nothing to fetch, and halts. */
export function lackingServer(
  cmdline: readonly string[],
  free: readonly FreeParameter[],
): FreeParameter | undefined {
  const { name, type } = SERVER_PARAMETER;
  if (lastValue(cmdline, name) !== undefined) return undefined;
  const named = free.find((parameter) => parameter.name === name);
  if (!named) return SERVER_PARAMETER;
  if (named.type === type) return undefined;
  throw new UsageError(
    `The free word ${name} is of type ${named.type}, and the overlay takes only a ${type}.`,
  );
}

const OVERLAY_INIT = 'rdinit=/bootseal/init';

/** An overlay that the kernel does not start would check nothing, and its init without the overlay is not there. */
export function withOverlayInit(cmdline: readonly string[], overlay: string | undefined): readonly string[] {
  if (cmdline.includes(OVERLAY_INIT)) {
    if (overlay) return cmdline;
    throw new UsageError(
      `The command line says ${OVERLAY_INIT}, and the release has no overlay; "bootseal overlay" builds one.`,
    );
  }
  const other = overlay && cmdline.find((word) => word.startsWith('rdinit='));
  if (other) {
    throw new UsageError(
      `The command line says ${other}, so the overlay would check nothing; leave that word out.`,
    );
  }
  return overlay ? [...cmdline, OVERLAY_INIT] : cmdline;
}
