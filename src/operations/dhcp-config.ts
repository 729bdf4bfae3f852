import { isIPv4 } from 'node:net';
import { UsageError } from '../errors/usage.ts';
import { namesIfThere } from '../files/read-if-there.ts';
import { LOADER_FILES } from '../server/dhcp-loaders.ts';
import {
  type BootRule,
  bootRules,
  isHttpBoot,
  type LoaderFiles,
  type LoaderKind,
  needsTwoOptions,
  withoutLoader,
} from './dhcp-config/boot-rules.ts';
import { dnsmasqConfig, dnsmasqProxyConfig } from './dhcp-config/dnsmasq.ts';
import { iscConfig } from './dhcp-config/isc-dhcp.ts';
import { keaConfig } from './dhcp-config/kea.ts';
import { mikrotikConfig } from './dhcp-config/mikrotik.ts';
import { openwrtConfig } from './dhcp-config/openwrt.ts';
import { windowsConfig } from './dhcp-config/windows.ts';

interface DialectFacts {
  readonly compose: (rules: readonly BootRule[]) => readonly string[];
  /** What begins a line that says nothing to it. */
  readonly comment: string;
  /** Whether a rule may look at two options at once. */
  readonly two: boolean;
  /** Where the text goes, for people. */
  readonly place: string;
}

const DIALECTS = {
  dnsmasq: { compose: dnsmasqConfig, comment: '#', two: true, place: 'a file in /etc/dnsmasq.d' },
  kea: { compose: keaConfig, comment: '//', two: true, place: 'the object "Dhcp4" of kea-dhcp4.conf' },
  'isc-dhcp': { compose: iscConfig, comment: '#', two: true, place: 'dhcpd.conf, outside of any subnet' },
  mikrotik: {
    compose: mikrotikConfig,
    comment: '#',
    two: false,
    place: 'a terminal of RouterOS 7.16 or later; dhcp1 stands for the name of your server there',
  },
  openwrt: { compose: openwrtConfig, comment: '#', two: false, place: 'a shell of OpenWrt, as root' },
  windows: {
    compose: windowsConfig,
    comment: '#',
    two: true,
    place: 'a PowerShell of an administrator, on the DHCP server',
  },
} as const satisfies Record<string, DialectFacts>;

export type DhcpDialect = keyof typeof DIALECTS;
export const DHCP_DIALECTS = Object.keys(DIALECTS) as readonly DhcpDialect[];

/** Names that are looked for in a folder of loaders: what `serve --proxydhcp` would tell. */
const LOADER_NAMES: Readonly<Record<LoaderKind, readonly string[]>> = {
  bios: LOADER_FILES.bios,
  ia32: LOADER_FILES.ia32,
  efi: LOADER_FILES.x64,
  arm64: LOADER_FILES.arm64,
};
const GRUB = /^bootseal-grub/;
const DEFAULT_LOADERS: LoaderFiles = {
  bios: 'bootseal-grub.0',
  efi: 'bootseal-grub.efi',
  arm64: 'bootseal-grub-arm64.efi',
};

export interface DhcpConfigOptions {
  readonly dialect: DhcpDialect;
  /** An IPv4 address: DHCP for IPv4 can name no other. */
  readonly server: string;
  /** Default 8080, as `serve`. */
  readonly httpPort?: number;
  /** What `serve --loaders` offers; default: what `loaders grub` makes. */
  readonly loaders?: string;
  /**
   * What an iPXE gets that is not the site's own. Default: `script`, /autoexec.ipxe, where an iPXE is among the loaders,
   * since a stock one that gets itself goes round for ever; else `loader`.
   */
  readonly otherIpxe?: 'script' | 'loader';
  /** dnsmasq beside another DHCP server: it gives no addresses. */
  readonly proxy?: boolean;
}

export interface DhcpConfig {
  readonly dialect: DhcpDialect;
  readonly server: string;
  readonly rules: readonly BootRule[];
  /** Lines without their ends. */
  readonly lines: readonly string[];
}

/**
 * What a DHCP server must be told so that each kind of machine finds its loader. Whatever goes into the text is an
 * address, a number, or a name out of this file: nothing can be written into it.
 *
 * @throws UsageError; IoError where the folder cannot be read.
 */
export async function dhcpConfig(options: DhcpConfigOptions): Promise<DhcpConfig> {
  const { dialect, server, httpPort = 8080, proxy = false } = options;
  demandHost(server);
  if (!Number.isInteger(httpPort) || httpPort < 1 || httpPort > 65535)
    throw new UsageError(`${httpPort} is no port; a machine needs one from 1 to 65535.`);
  if (proxy && dialect !== 'dnsmasq') {
    throw new UsageError(
      `--proxy goes with dnsmasq alone; beside ${dialect}, let "bootseal serve --proxydhcp" name the boot files.`,
    );
  }
  const loaders = options.loaders === undefined ? DEFAULT_LOADERS : await loadersIn(options.loaders);
  const hasIpxe = Object.values(loaders).some((name) => !GRUB.test(name));
  const otherIpxe = options.otherIpxe ?? (hasIpxe ? 'script' : 'loader');
  const all = bootRules({ server, httpPort, loaders, otherIpxe });
  const { compose, comment, place, two }: DialectFacts = DIALECTS[dialect];
  const rules = all.filter((rule) => !(proxy && isHttpBoot(rule)) && (two || !needsTwoOptions(rule)));
  const said = [
    `For ${place}.`,
    ...rules.map(({ what, file }) => `${what}: ${file}`),
    ...(proxy ? ['HTTP Boot: dnsmasq does not answer it beside another server'] : []),
    ...(all.some(needsTwoOptions) && !two
      ? ['iPXE in the ROM of a card: as any other, since a rule here looks at one option']
      : []),
    ...withoutLoader(loaders).map((what) => `${what}: no loader, so it is told nothing`),
  ];
  const lines = [
    ...said.map((line) => `${comment} ${line}`),
    ...(proxy ? dnsmasqProxyConfig(rules) : compose(rules)),
  ];
  return { dialect, server, rules, lines };
}

/** One machine's address: neither a network's, nor everybody's, nor nobody's. */
function demandHost(server: string): void {
  const first = Number(server.split('.', 1)[0]);
  if (isIPv4(server) && first > 0 && first < 224) return;
  throw new UsageError(
    `${JSON.stringify(server)} is no IPv4 address of a server; DHCP can name no other, and a name would need DNS before the machine has any.`,
  );
}

async function loadersIn(folder: string): Promise<LoaderFiles> {
  const there = new Set(await namesIfThere(folder));
  const found = Object.entries(LOADER_NAMES).flatMap(([kind, names]) => {
    const name = names.find((candidate) => there.has(candidate));
    return name === undefined ? [] : [[kind, name] as const];
  });
  if (found.length > 0) return Object.fromEntries(found);
  const known = Object.values(LOADER_NAMES).flat().join(', ');
  throw new UsageError(`${folder} holds no loader by a name that is known here: ${known}.`);
}
