import { UsageError } from '../errors/usage.ts';
import { entryFolder } from '../formats/records/entry-folder.ts';
import { isChannelName, isReleaseId } from '../formats/records/safe-path.ts';
import { baseOf, entryBase, fragment, linted, type ScriptServer, serverSettings } from './compile.ts';
import { gaveUp } from './gave-up.ts';
import { lintedGrub } from './grub-config.ts';
import { GRUB_PAUSE, type GrubServer, httpDevice, serverLines } from './grub-server.ts';
import { MAX_ITEMS } from './lint-menu.ts';
import { grubMachines, ipxeMachines, type MachineIdentity } from './machine-set.ts';
import {
  type Fragment,
  isLabel,
  joinFragments,
  MAX_LABEL,
  readTemplate,
  renderFragment,
  renderTemplate,
  type Value,
} from './template.ts';

/** Signed menus: a person at the machine picks among scripts that are signed themselves. */

export interface MenuOptions {
  /** At the head of iPXE's menu; GRUB's has none. */
  readonly title: string;
  /** In this order; the machine's own disk follows them. At most 16. */
  readonly entries: readonly MenuEntry[];
  /** The `name` of the entry that starts when nobody chooses; undefined: the machine's own disk. */
  readonly default?: string;
  /** Until the default starts, 1 to 3600. A key that is pressed stops the clock. */
  readonly timeoutSeconds: number;
  /** The machines that it is for: any other refuses it. Undefined: whoever runs it. */
  readonly machines?: readonly MachineIdentity[];
  /** Whose machines it is for (`uname -m`), where they look at an entry of their own. */
  readonly arch?: string;
}

export interface MenuEntry {
  /** What the menu shows: at most 60 printable characters. */
  readonly label: string;
  readonly kind: 'channel' | 'release';
  /** `stable`, `arch/2026.11.01` */
  readonly name: string;
}

export interface IpxeMenuOptions extends MenuOptions {
  readonly server: ScriptServer;
  /** CN of the leaf that signs the scripts of channels and releases, and this one: `boot.SITE`. */
  readonly signer: string;
}

export interface GrubMenuOptions extends MenuOptions {
  readonly server: GrubServer;
  /** Seconds between a refusal and the restart; 30 by default. */
  readonly pause?: number;
}

const MAX_ENTRIES = MAX_ITEMS - 1;
const LOCAL = 'Start from the disk of this machine';
/** How a menu's script calls its entries. */
const idOf = (index: number): string => `entry-${index + 1}`;

/**
 * `boot.ipxe` that is a menu. Each entry fetches the signed script of its channel or release, verifies and runs it.
 *
 * @throws UsageError for entries, labels or times that no menu can have; Refusal (`unsafe-script`) for an unfit value.
 */
export function compileMenu(options: IpxeMenuOptions): string {
  const chosen = demandMenu(options);
  const { entries, server, signer, arch } = options;
  const text = renderTemplate('menu.ipxe', readTemplate('menu.ipxe'), {
    machines: options.machines ? ipxeMachines(options.machines) : joinFragments([]),
    'server-settings': serverSettings(server),
    signer: { kind: 'signer', text: signer },
    title: { kind: 'label', text: options.title },
    items: each(entries, ({ label }, index) =>
      line('item {{id}} {{label}}', {
        id: { kind: 'label', text: idOf(index) },
        label: { kind: 'label', text: label },
      }),
    ),
    local: { kind: 'label', text: LOCAL },
    default: { kind: 'label', text: chosen < 0 ? 'local' : idOf(chosen) },
    milliseconds: { kind: 'hex', text: String(options.timeoutSeconds * 1000) },
    choices: each(entries, (_, index) =>
      line(`iseq \${bootseal-choice} {{id}} && goto {{id}} ||`, {
        id: { kind: 'label', text: idOf(index) },
      }),
    ),
    entries: each(entries, (entry, index) =>
      fragment('menu-entry.ipxe', {
        entry: { kind: 'label', text: idOf(index) },
        name: nameOf(entry),
        address: {
          kind: 'base',
          text: `${entry.kind === 'channel' ? entryBase(baseOf(server), arch) : baseOf(server)}/${folderOf(entry)}`,
        },
        signer: { kind: 'signer', text: signer },
      }),
    ),
    'own-disk': fragment('own-disk.ipxe', {}),
    reason: fragment('reason.ipxe', {}),
    'gave-up': gaveUp(baseOf(server)),
  });
  return linted('menu.ipxe', text, [signer], ['menu', 'own-disk']);
}

/** `grub.cfg` that is a menu. Throws as `compileMenu` does. */
export function compileGrubMenu(options: GrubMenuOptions): string {
  const chosen = demandMenu(options);
  const { entries, server, arch } = options;
  const text = renderTemplate('menu.cfg', readTemplate('menu.cfg'), {
    pause: { kind: 'hex', text: String(options.pause ?? GRUB_PAUSE) },
    machines: options.machines ? grubMachines(options.machines) : joinFragments([]),
    server: serverLines(server, 'bootseal_refuse'),
    http: httpDevice(server),
    default: { kind: 'label', text: chosen < 0 ? 'local' : idOf(chosen) },
    seconds: { kind: 'hex', text: String(options.timeoutSeconds) },
    entries: each(entries, (entry, index) => {
      const own = entry.kind === 'channel' && arch !== undefined ? `${entryFolder(arch)}/` : '';
      return renderFragment('menu-entry.cfg', readTemplate('menu-entry.cfg'), {
        id: { kind: 'label', text: idOf(index) },
        label: { kind: 'label', text: entry.label },
        name: nameOf(entry),
        folder: { kind: 'path', text: own + folderOf(entry) },
      });
    }),
    local: { kind: 'label', text: LOCAL },
  });
  return lintedGrub('menu.cfg', text, 'menu');
}

function line(text: string, values: Readonly<Record<string, Value>>): Fragment {
  return renderFragment('a line of a menu', `\n\n${text}\n`, values);
}

function each(
  entries: readonly MenuEntry[],
  render: (entry: MenuEntry, index: number) => Fragment,
): Fragment {
  return joinFragments(entries.map(render));
}

function nameOf({ kind, name }: MenuEntry): Value {
  return { kind: kind === 'channel' ? 'path' : 'release', text: name };
}

function folderOf({ kind, name }: MenuEntry): string {
  return `${kind === 'channel' ? 'channels' : 'releases'}/${name}`;
}

/** Answers where the default stands; below 0: it is the disk. */
function demandMenu({ title, entries, default: chosen, timeoutSeconds }: MenuOptions): number {
  if (entries.length === 0 || entries.length > MAX_ENTRIES)
    throw new UsageError(
      `A menu has 1 to ${MAX_ENTRIES} entries beside the disk, and this one has ${entries.length}.`,
    );
  if (!Number.isInteger(timeoutSeconds) || timeoutSeconds < 1 || timeoutSeconds > 3600)
    throw new UsageError(`A menu waits 1 to 3600 seconds, not ${timeoutSeconds}.`);
  for (const label of [title, ...entries.map((entry) => entry.label)]) {
    if (!isLabel(label))
      throw new UsageError(
        `${JSON.stringify(label)} cannot stand in a menu: write at most ${MAX_LABEL} letters, digits, single blanks and ._:,()+/@=-, a letter or digit first.`,
      );
  }
  for (const { kind, name } of entries) {
    if (!(kind === 'channel' ? isChannelName(name) : isReleaseId(name)))
      throw new UsageError(`${JSON.stringify(name)} names no ${kind}.`);
  }
  for (const key of ['label', 'name'] as const) {
    const twice = entries.find(
      (entry, index) => entries.findIndex((other) => other[key] === entry[key]) < index,
    );
    if (twice)
      throw new UsageError(`The menu has two entries with the ${key} ${JSON.stringify(twice[key])}.`);
  }
  if (chosen === undefined) return -1;
  const index = entries.findIndex(({ name }) => name === chosen);
  if (index < 0) throw new UsageError(`The menu has no entry ${JSON.stringify(chosen)} to begin with.`);
  return index;
}
