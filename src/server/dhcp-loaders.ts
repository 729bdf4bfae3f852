import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { entryFolder } from '../formats/records/entry-folder.ts';
import { UKI } from '../formats/records/seal-names.ts';
import { DHCP_CLIENTS, type DhcpClientKind, type DhcpSilence } from '../release/server-event.ts';
import type { Site } from '../release/site.ts';
import type { DhcpLoader, DhcpLoaders } from '../serve/dhcp/dhcp-types.ts';

const X86 = entryFolder('x86_64');
const ARM = entryFolder('aarch64');
/** Files of a folder of loaders, by the firmware that starts them; of several the first. */
export const LOADER_FILES = {
  bios: ['undionly.kpxe', 'bootseal-grub.0'],
  ia32: ['ipxe-ia32.efi', 'snponly-ia32.efi'],
  x64: ['ipxe.efi', 'snponly.efi', 'bootseal-grub.efi'],
  arm64: ['ipxe-arm64.efi', 'snponly-arm64.efi', 'bootseal-grub-arm64.efi'],
} as const;
const BIOS = LOADER_FILES.bios;
const X64 = [...LOADER_FILES.x64, `${X86}/${UKI}`];
const ARM64 = [...LOADER_FILES.arm64, `${ARM}/${UKI}`];
const ADVICE = 'autoexec.ipxe';

/**
 * What each kind of client is told to load where the configuration names nothing: the first of these that there is.
 * An iPXE that may have come from us is never sent to an iPXE again: it would load itself for ever.
 */
const CANDIDATES: Readonly<Record<DhcpClientKind, readonly string[]>> = {
  bootseal: ['boot.ipxe'],
  'bootseal-arm64': [`${ARM}/boot.ipxe`],
  'ipxe-bios': [...BIOS, ADVICE],
  'ipxe-x64': [ADVICE],
  'ipxe-arm64': [`${ARM}/${ADVICE}`],
  ipxe: [ADVICE],
  bios: BIOS,
  ia32: LOADER_FILES.ia32,
  x64: X64,
  arm32: [],
  arm64: ARM64,
  'http-ia32': LOADER_FILES.ia32,
  'http-x64': X64,
  'http-arm32': [],
  'http-arm64': ARM64,
  'raspberry-pi': [],
};

export interface DhcpLoaderRequest {
  readonly find: Site['find'];
  /** By kind of client: a path at the server, or false: nothing. */
  readonly named: Readonly<Partial<Record<DhcpClientKind, string | false>>>;
  /** Boot ROMs know no other port of TFTP than 69. */
  readonly tftp: boolean;
}

/** Looks up, for every kind of client, what it is told to load: only what is served now. */
export async function findDhcpLoaders({ find, named, tftp }: DhcpLoaderRequest): Promise<DhcpLoaders> {
  const loaders = new Map<DhcpClientKind, DhcpLoader | DhcpSilence>();
  for (const kind of DHCP_CLIENTS) {
    const own = named[kind];
    const paths = own === false ? [] : own === undefined ? CANDIDATES[kind] : [own];
    loaders.set(kind, await firstServed(kind, paths, find, tftp));
  }
  return loaders;
}

/** @throws UsageError for a loader that the configuration names, and that is not there. */
export async function checkNamedLoaders({ find, named }: DhcpLoaderRequest): Promise<void> {
  for (const [kind, path] of Object.entries(named)) {
    if (typeof path !== 'string' || (await isServed(find, path))) continue;
    throw new UsageError(
      `The configuration tells machines of kind ${kind} to load ${path}, which is not served here; put it into the folder of loaders or name another file.`,
    );
  }
}

async function firstServed(
  kind: DhcpClientKind,
  paths: readonly string[],
  find: Site['find'],
  tftp: boolean,
): Promise<DhcpLoader | DhcpSilence> {
  let why: DhcpSilence = 'no-loader';
  for (const path of paths) {
    if (!(await isServed(find, path))) continue;
    const via = wayOf(kind, path);
    if (via === 'http' || tftp) return { via, path };
    why = 'no-tftp';
  }
  return why;
}

/** A file that has ended is there all the same: over HTTP the machine is told why, over DHCP it could not be. */
async function isServed(find: Site['find'], path: string): Promise<boolean> {
  const found = await find(`/${path}`);
  return !(found instanceof Refusal) || !['absent', 'unsafe-path', 'unreachable'].includes(found.code);
}

/** iPXE takes URLs; a ROM of it gets its next loader as other ROMs do, so that the network stays as that expects it. */
function wayOf(kind: DhcpClientKind, path: string): DhcpLoader['via'] {
  if (kind.startsWith('http-') || kind.startsWith('bootseal')) return 'http';
  if (!kind.startsWith('ipxe')) return 'tftp';
  return kind === 'ipxe-bios' && !path.endsWith('.ipxe') ? 'tftp' : 'http';
}
