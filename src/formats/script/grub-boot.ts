import { GRUB_LOADERS, grubCommand, grubCommands } from './kernel-lines.ts';

/** What a GRUB configuration boots: one `linux` command and the `initrd` command, where there is one, that belongs to it. */
export interface GrubBoot {
  /** Paths on the server, each beginning with a slash. */
  readonly kernel: string;
  readonly initrds: readonly string[];
  readonly cmdline: string;
  /** Whether it has the loader trust the payload keys, and the script keys no more, before it opens the kernel. */
  readonly switched: boolean;
}

/** The function of the loader's that does so. */
export const GRUB_SWITCH = 'bootseal_trust_payload';

/**
 * Reads what a configuration would boot, as GRUB expands it: variables have the value that the lines before
 * gave them, or one of `known`; words split at blanks. Of conditions, every branch counts as taken.
 * Undefined where it boots nothing, or more than one thing.
 *
 * @param known variables that GRUB sets itself.
 */
export function grubBoot(bytes: Uint8Array, known: ReadonlyMap<string, string>): GrubBoot | undefined {
  const settings = new Map(known);
  const expand = (word: string): string =>
    word.replace(
      /\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z_][A-Za-z0-9_]*))/g,
      (_, braced, bare) => settings.get(braced ?? bare) ?? '',
    );
  const linux: (readonly string[])[] = [];
  const initrd: (readonly string[])[] = [];
  let switched = false;
  for (const words of grubCommands(Buffer.from(bytes).toString('latin1'))) {
    const [command = '', ...rest] = grubCommand(words);
    if (command === 'set') {
      const [, name, value = ''] = /^([A-Za-z0-9_]+)=(.*)$/s.exec(rest[0] ?? '') ?? [];
      if (name !== undefined && !known.has(name)) settings.set(name, expand(value));
    }
    if (command === GRUB_SWITCH && linux.length === 0) switched = true;
    if (GRUB_LOADERS.has(command)) linux.push(rest.map(expand));
    if (/^initrd/.test(command)) initrd.push(rest.map(expand));
  }
  const [kernel, ...words] = linux[0] ?? [];
  if (kernel === undefined || linux.length !== 1 || initrd.length > 1) return undefined;
  const path = (word: string) => word.replace(/^\([^)]*\)/, '');
  const line = words.flatMap((word) => word.split(' ')).filter((word) => word !== '');
  return {
    kernel: path(kernel),
    initrds: (initrd[0] ?? []).map(path),
    cmdline: [`BOOT_IMAGE=${kernel}`, ...line].join(' '),
    switched,
  };
}

/** The HTTP port that a configuration has GRUB fetch from; undefined where it names none. */
export function grubHttpPort({ cmdline }: GrubBoot): number | undefined {
  const [whole, port = '80'] = /^BOOT_IMAGE=\(http,[^,)]*(?:,([0-9]{1,5}))?\)/.exec(cmdline) ?? [];
  return whole === undefined ? undefined : Number(port);
}

/** What GRUB knows of its network, for the machine that `runClients` emulates. */
export function grubVariables(base: string): ReadonlyMap<string, string> {
  const { hostname } = new URL(base);
  const mac = ['52', '54', '00', '12', '34', '56'];
  return new Map([
    ['net_default_server', hostname],
    ['pxe_default_server', hostname],
    ['net_default_mac', mac.join(':')],
    ...mac.map((octet, index): [string, string] => [`m${index + 1}`, octet]),
  ]);
}
