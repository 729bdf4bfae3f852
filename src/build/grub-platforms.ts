import { join } from 'node:path';
import { IoError } from '../errors/io.ts';
import { UsageError } from '../errors/usage.ts';
import { isThere, readIfThere } from '../files/read-if-there.ts';

/** What GRUB is built for here, and where the parts of it are found. */

export type GrubPlatform = 'i386-pc-pxe' | 'x86_64-efi' | 'arm64-efi';

export interface PlatformFacts {
  /** Folder of `/usr/lib/grub`. */
  readonly folder: string;
  readonly packageName: string;
  readonly fileName: string;
  readonly modules: readonly string[];
  /** Whose machines look at an entry of their own; the others' is the one at the top. */
  readonly arch?: string;
}

export const GRUB_PLATFORMS: Readonly<Record<GrubPlatform, PlatformFacts>> = {
  'i386-pc-pxe': {
    folder: 'i386-pc',
    packageName: 'grub-pc-bin',
    fileName: 'bootseal-grub.0',
    modules: ['pxe', 'multiboot2'],
  },
  'x86_64-efi': {
    folder: 'x86_64-efi',
    packageName: 'grub-efi-amd64-bin',
    fileName: 'bootseal-grub.efi',
    // Without a video driver GRUB starts the kernel blind: no console on a screen.
    modules: ['efinet', 'efi_gop', 'efi_uga', 'multiboot2'],
  },
  'arm64-efi': {
    folder: 'arm64-efi',
    packageName: 'grub-efi-arm64-bin',
    fileName: 'bootseal-grub-arm64.efi',
    modules: ['efinet', 'efi_gop'],
    arch: 'aarch64',
  },
};

/** The platforms of machines of an architecture (`uname -m`). Throws a `UsageError` where GRUB is not built for it. */
export function grubPlatformsOf(arch: string): readonly GrubPlatform[] {
  if (arch === 'x86_64') return X86;
  if (arch === 'aarch64') return ['arm64-efi'];
  throw new UsageError(`No GRUB image is built for machines of ${arch}; say x86_64 or aarch64.`);
}

const X86: readonly GrubPlatform[] = ['i386-pc-pxe', 'x86_64-efi'];

/**
 * In every image. Nothing that reads disks, writes memory, sets variables from a file (`loadenv`: one that the payload
 * key signed switched signatures off) or starts anything but Linux, by itself or, on x86, as a multiboot kernel's
 * module: what is absent cannot be misused. `gzio` unpacks a hypervisor, and GRUB verifies what it was packed in.
 */
export const GRUB_MODULES: readonly string[] = [
  ...['normal', 'configfile', 'echo', 'test', 'true', 'sleep', 'reboot', 'halt', 'regexp'],
  // `exit` is of minicmd; what else that has shows, and loads nothing.
  ...['minicmd', 'smbios'],
  ...['memdisk', 'tar', 'net', 'http', 'tftp', 'linux', 'gzio', 'boot'],
  ...['pgp', 'gcry_sha256', 'gcry_sha512', 'gcry_rsa'],
];

/** What goes into the image of each platform: its folder of `/usr/lib/grub`, and the modules named from there. */
export function grubPlatforms(): { readonly folder: string; readonly modules: readonly string[] }[] {
  return Object.values(GRUB_PLATFORMS).map(({ folder, modules }) => ({
    folder,
    modules: [...modules, ...GRUB_MODULES],
  }));
}

/**
 * The folder of a platform's modules, which must be of the very GRUB that makes the image: its header says how they are
 * laid out.
 *
 * @param version of grub-mkimage, `2.06`.
 * @param given where they were unpacked; undefined: where they are installed.
 * @throws UsageError for a folder without them, for another platform, or of another version; IoError that names the
 *   Debian package where none are installed.
 */
export async function grubModules(
  platform: GrubPlatform,
  version: string,
  given: string | undefined,
): Promise<string> {
  const { folder, packageName } = GRUB_PLATFORMS[platform];
  const places =
    given === undefined
      ? [join('/usr/lib/grub', folder)]
      : [join(given, 'usr/lib/grub', folder), join(given, folder), given];
  for (const place of places) {
    const facts = (await readIfThere(join(place, 'modinfo.sh')))?.toString();
    // Without the pgp module an image could be built and would verify nothing.
    if (!facts || !(await isThere(join(place, 'pgp.mod')))) continue;
    const told = (name: string) => new RegExp(`^${name}="?([^"\\n]*)"?$`, 'm').exec(facts)?.[1] ?? '';
    const found = `${told('grub_modinfo_target_cpu')}-${told('grub_modinfo_platform')}`;
    if (found !== folder) {
      // The last place is whatever was named; it may be another platform's own folder.
      throw new UsageError(`${place} holds GRUB's modules for ${found}, not for ${folder}.`);
    }
    const theirs = told('grub_version');
    if (theirs !== version) {
      throw new UsageError(
        `The modules in ${place} are of GRUB ${theirs}, and grub-mkimage here is of ${version}; take both from one release of the distribution.`,
      );
    }
    return place;
  }
  if (given !== undefined) {
    throw new UsageError(
      `There are no modules of GRUB for ${folder} in ${given}; unpack the package ${packageName} there ("dpkg-deb -x").`,
    );
  }
  const path = join('/usr/lib/grub', folder, 'pgp.mod');
  const how =
    GRUB_PLATFORMS[platform].arch === undefined || isOwnMachine(GRUB_PLATFORMS[platform].arch)
      ? `install the package ${packageName}`
      : `they are a package of another architecture, ${packageName}: unpack it ("dpkg-deb -x") and name the folder with --modules, or install it as docs/arm64.md says`;
  throw new IoError(
    `GRUB's modules for ${folder} are missing, so no ${platform} image can be built; ${how}.`,
    path,
    'ENOENT',
  );
}

/** Whether this machine's own packages are of that architecture. */
function isOwnMachine(arch: string): boolean {
  return process.arch === 'arm64' ? arch === 'aarch64' : false;
}
