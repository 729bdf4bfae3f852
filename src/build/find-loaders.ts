import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { isThere, namesIfThere, statIfThere } from '../files/read-if-there.ts';
import { readWhole } from '../files/reading.ts';
import type { Anchors } from '../trust/anchors.ts';
import { type LoaderReport, lookIntoLoader } from '../trust/loader-check.ts';

/** A loader that lies on this machine, or the parts to build one from. */
export interface InstalledLoader {
  readonly name: string;
  /** `UEFI x86_64`; undefined where the file does not say. */
  readonly firmware: string | undefined;
  /** The loader itself; for GRUB's parts the folder of its modules. */
  readonly path: string;
  /** Debian's package that brings it there; undefined where that depends on who installed it. */
  readonly packageName: string | undefined;
  /** As the file spells it. */
  readonly version: string | undefined;
  /** Lower-case hex; undefined for parts. */
  readonly sha256: string | undefined;
  /** True when a release's seals can be enforced with it. */
  readonly verifies: boolean;
  /** What it can verify, in one sentence. */
  readonly verification: string;
  /** Whom it trusts, as far as the file tells. */
  readonly trusts: readonly string[];
  /** Whether those are of the anchors that were given; undefined where nothing can be compared. */
  readonly ours: boolean | undefined;
  readonly warnings: readonly string[];
}

export interface FindLoadersOptions {
  /** Look here and nowhere else: a folder of loaders. */
  readonly folder?: string;
  /** What their keys are compared with. */
  readonly anchors?: Anchors;
  /** Where to look for what is installed; `/` but for tests. */
  readonly root?: string;
}

const GRUB =
  'OpenPGP signatures (RSA) on every file it opens, with your keys built in by "bootseal loaders grub": grub.cfg by the script key alone, the rest by the payload key alone; no expiry, no file names';

/** The parts of GRUB: without the pgp module an image could be built and would verify nothing. */
const GRUB_PARTS: readonly (readonly [platform: string, firmware: string, packageName: string])[] = [
  ['i386-pc', 'BIOS', 'grub-pc-bin'],
  ['x86_64-efi', 'UEFI x86_64', 'grub-efi-amd64-bin'],
  ['arm64-efi', 'UEFI aarch64', 'grub-efi-arm64-bin'],
];

/** Where loaders lie: Debian's places first, then those of Arch and Fedora; `*` stands for any folder. */
const PLACES: readonly (readonly [folder: string, packageName?: string])[] = [
  ['usr/lib/ipxe', 'ipxe'],
  ['usr/lib/ipxe/qemu', 'ipxe-qemu'],
  ['usr/lib/shim', 'shim-signed'],
  ['usr/lib/grub/*-signed'],
  ['usr/lib/systemd/boot/efi', 'systemd-boot-efi'],
  ['usr/share/ipxe'],
  ['usr/share/ipxe/*'],
  ['usr/share/ipxe.efi'],
  ['usr/share/shim'],
  ['boot/efi/EFI/*'],
  ['boot/EFI/*'],
  ['efi/EFI/*'],
];
const LOADER = /\.(efi|efi\.signed|efi\.stub|kpxe|kkpxe|kkkpxe|pxe|0|lkrn|rom)$/i;
/** Bytes. What is larger holds a system. */
const LOOKED_INTO = 64 * 1024 * 1024;

/**
 * Looks for loaders, and into each. In a fixed order; a file that is there twice under two names is told twice.
 *
 * @throws IoError where a folder or a file that is there cannot be read.
 */
export async function findLoaders({
  folder,
  anchors,
  root = '/',
}: FindLoadersOptions = {}): Promise<readonly InstalledLoader[]> {
  const sites = anchors ? [anchors] : [];
  if (folder !== undefined) return looked(folder, folder, undefined, sites);
  const found: InstalledLoader[] = [];
  for (const [platform, firmware, packageName] of GRUB_PARTS) {
    const path = `/usr/lib/grub/${platform}`;
    if (!(await isThere(join(root, path, 'pgp.mod')))) continue;
    found.push({ ...PARTS, name: `GRUB (${platform})`, firmware, path, packageName });
  }
  for (const [place, packageName] of PLACES) {
    for (const inside of await foldersOf(root, place))
      found.push(...(await looked(join(root, inside), `/${inside}`, packageName, sites)));
  }
  return found;
}

const PARTS = {
  version: undefined,
  sha256: undefined,
  verifies: true,
  verification: GRUB,
  trusts: [],
  ours: undefined,
  warnings: [],
} as const;

/** The folders that a place with one `*` in its last part means; a place without one is itself. */
async function foldersOf(root: string, place: string): Promise<readonly string[]> {
  if (!place.includes('*')) return [place];
  const at = place.lastIndexOf('/');
  const [before, after = ''] = place.slice(at + 1).split('*');
  const parent = place.slice(0, at);
  return [...(await namesIfThere(join(root, parent)))]
    .sort()
    .filter((name) => name.startsWith(before ?? '') && name.endsWith(after))
    .map((name) => `${parent}/${name}`);
}

async function looked(
  folder: string,
  shown: string,
  packageName: string | undefined,
  sites: readonly Anchors[],
): Promise<readonly InstalledLoader[]> {
  const found: InstalledLoader[] = [];
  for (const name of [...(await namesIfThere(folder))].sort()) {
    const path = join(folder, name);
    // A link to nothing is not there.
    const facts = LOADER.test(name) ? await statIfThere(path) : undefined;
    if (!facts?.isFile() || facts.size > LOOKED_INTO) continue;
    const bytes = await readWhole(path);
    found.push(described(join(shown, name), name, packageName, bytes, lookIntoLoader(name, bytes, sites)));
  }
  return found;
}

function described(
  path: string,
  file: string,
  packageName: string | undefined,
  bytes: Uint8Array,
  { image, verifies, verification, trusts, ours, warnings }: LoaderReport,
): InstalledLoader {
  const { kind, firmware, arch, version } = image;
  return {
    name: `${NAMES[kind]} (${file})`,
    firmware: firmware === undefined ? undefined : [firmware, arch].filter(Boolean).join(' '),
    path,
    packageName,
    version,
    sha256: createHash('sha256').update(bytes).digest('hex'),
    verifies,
    verification,
    trusts,
    ours,
    warnings,
  };
}

const NAMES: Readonly<Record<LoaderReport['image']['kind'], string>> = {
  ipxe: 'iPXE',
  grub: 'GRUB',
  uki: 'unified kernel image',
  'systemd-stub': 'systemd-stub',
  'systemd-boot': 'systemd-boot',
  shim: 'shim',
  other: 'unknown',
};
