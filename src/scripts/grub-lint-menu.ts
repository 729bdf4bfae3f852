import { isChannelName, isReleaseId } from '../formats/records/safe-path.ts';
import { grubExpansions, grubText } from '../formats/script/grub-tokens.ts';
import type { GrubItem, GrubReport, GrubWord } from './grub-items.ts';
import { MAX_ITEMS } from './lint-menu.ts';

/**
 * The one form that an entry of a menu may have: plain text between single quotes, open to everybody, with a name of its
 * own; and in it a `configfile` of a channel or release, or `exit`, and then what never returns. Nothing of an entry comes
 * back to the menu: by then the payload keys may be the trusted ones, and another entry would run what they signed.
 */

export interface GrubMenuEntry {
  readonly line: number;
  /** Commands of the configuration that stand before it. */
  readonly after: number;
  readonly words: readonly GrubWord[];
  readonly items: readonly GrubItem[];
}

/** What every entry's address begins with: a variable that the configuration must have held to a form. */
const DEVICE = 'bootseal_device';
const LABEL = /^[\x20-\x26\x28-\x7e]{1,80}$/;
const ID = /^[a-z0-9][a-z0-9-]{0,31}$/;
const SECONDS = /^[1-9][0-9]{0,3}$/;

/**
 * @param body what stands outside of functions and entries.
 * @param clean variables that hold no text of others by then.
 * @param stops functions that never return.
 */
export function checkGrubMenu(
  entries: readonly GrubMenuEntry[],
  body: readonly GrubItem[],
  clean: ReadonlySet<string>,
  stops: ReadonlySet<string>,
  report: GrubReport,
): void {
  const ids = entries.map((entry) => checkEntry(entry, stops, report));
  const first = entries[0]?.line ?? 1;
  if (entries.length === 0 || entries.length > MAX_ITEMS)
    report('shell', first, `a menu has 1 to ${MAX_ITEMS} entries, and this one has ${entries.length}`);
  for (const [index, id] of ids.entries())
    if (ids.indexOf(id) < index)
      report('shell', entries[index]?.line ?? 1, `an entry called ${id} is there twice`);
  if (entries.some(({ items }) => items.some(({ name }) => name === 'configfile')) && !clean.has(DEVICE))
    report('setting', first, `$${DEVICE} can be any text, and nothing has held it to a form`);
  if (entries.some(({ after }) => after < body.length))
    report('shell', body.at(-1)?.line ?? 1, 'the entries of a menu come last');
  const given = (name: string) => body.filter((item) => setsTo(item, name) !== undefined);
  for (const [name, fits] of [
    ['default', (value: string) => ids.includes(value)],
    ['timeout', (value: string) => SECONDS.test(value)],
  ] as const) {
    const [one, ...more] = given(name);
    if (!one || more.length > 0 || !fits(setsTo(one, name) ?? ''))
      report('shell', one?.line ?? 1, `a menu sets ${name} once, so that it ends by itself in an entry`);
  }
}

function setsTo({ name, words }: GrubItem, variable: string): string | undefined {
  const text = words.map(grubText).join(' ');
  return name === 'set' && text.startsWith(`${variable}=`) ? text.slice(variable.length + 1) : undefined;
}

/** Answers its name. */
function checkEntry(
  { line, words, items }: GrubMenuEntry,
  stops: ReadonlySet<string>,
  report: GrubReport,
): string {
  const [label, ...options] = words;
  const [unrestricted, flag, id = ''] = options.map(grubText);
  const quoted = label?.length === 1 && label[0]?.quotes === "'" && LABEL.test(label[0].text);
  if (!quoted || unrestricted !== '--unrestricted' || flag !== '--id' || !ID.test(id) || options.length !== 3)
    report('shell', line, "an entry is: menuentry 'TEXT' --unrestricted --id NAME");
  const start = items.findIndex(({ name }) => name !== 'echo');
  const [does, leaves, ...more] = start < 0 ? [] : items.slice(start);
  for (const shown of items.slice(0, Math.max(start, 0)))
    if (shown.words.flatMap(grubExpansions).length > 0)
      report('setting', shown.line, 'an entry shows nothing but its own text');
  if (
    !does ||
    !leaves ||
    more.length > 0 ||
    !stops.has(leaves.name) ||
    !(isExit(does) || isConfiguration(does))
  )
    report(
      'shell',
      line,
      'an entry opens the grub.cfg of a channel or release, or exits, and never comes back',
    );
  return id;
}

function isExit({ name, words }: GrubItem): boolean {
  return name === 'exit' && words.length === 0;
}

function isConfiguration({ name, words: [word, ...more] }: GrubItem): boolean {
  if (name !== 'configfile' || !word || more.length > 0) return false;
  const [variable, ...others] = grubExpansions(word);
  if (variable?.name !== DEVICE || variable.split || others.length > 0) return false;
  const [, channel, release] =
    /^\$bootseal_device\/(?:entries\/[A-Za-z0-9_.-]{1,64}\/)?(?:channels\/([^/]+)|releases\/([^/]+\/[^/]+))\/grub\.cfg$/.exec(
      grubText(word),
    ) ?? [];
  return channel === undefined ? isReleaseId(release ?? '') : isChannelName(channel);
}
