import { join } from 'node:path';
import { isThere } from '../files/read-if-there.ts';

/** A loader, or the parts to build one from, that is installed on this machine. */
export interface InstalledLoader {
  readonly name: string;
  readonly firmware: 'BIOS' | 'UEFI x64' | 'UEFI arm64';
  /** The loader itself; for GRUB the folder of its modules. */
  readonly path: string;
  readonly packageName: string;
  /** True when a release's seals can be enforced with it. */
  readonly verifies: boolean;
  /** What it can verify, in one sentence. */
  readonly verification: string;
}

const STOCK_IPXE =
  'nothing: distributions build iPXE without imgverify and imgtrust, so scripts that demand a signature stop here';
const GRUB =
  'OpenPGP signatures (RSA) on every file it opens, with your keys built in by "bootseal loaders grub": grub.cfg by the script key alone, the rest by the payload key alone; no expiry, no file names';
const SECURE_BOOT_STUB =
  'nothing by itself; a unified kernel image made from it is verified whole by Secure Boot firmware that holds your key';

type Known = Omit<InstalledLoader, 'path'> & { readonly paths: readonly string[] };

/** Debian's places first, then those of Fedora and Arch. */
const KNOWN: readonly Known[] = [
  grub('BIOS', 'i386-pc', 'grub-pc-bin'),
  grub('UEFI x64', 'x86_64-efi', 'grub-efi-amd64-bin'),
  grub('UEFI arm64', 'arm64-efi', 'grub-efi-arm64-bin'),
  ipxe('iPXE with UNDI (undionly.kpxe)', 'BIOS', 'undionly.kpxe'),
  ipxe('iPXE with drivers (ipxe.pxe)', 'BIOS', 'ipxe.pxe'),
  ipxe('iPXE with the firmware’s network (snponly.efi)', 'UEFI x64', 'snponly.efi'),
  ipxe('iPXE with drivers (ipxe.efi)', 'UEFI x64', 'ipxe.efi'),
  stub('UEFI x64', 'linuxx64.efi.stub'),
  stub('UEFI arm64', 'linuxaa64.efi.stub'),
];

function stub(firmware: InstalledLoader['firmware'], file: string): Known {
  return {
    name: 'systemd-stub',
    firmware,
    paths: [`/usr/lib/systemd/boot/efi/${file}`],
    packageName: 'systemd-boot-efi',
    verifies: false,
    verification: SECURE_BOOT_STUB,
  };
}

function grub(firmware: InstalledLoader['firmware'], platform: string, packageName: string): Known {
  // Without the pgp module an image could be built and would verify nothing.
  const paths = [`/usr/lib/grub/${platform}/pgp.mod`];
  return { name: `GRUB (${platform})`, firmware, paths, packageName, verifies: true, verification: GRUB };
}

function ipxe(name: string, firmware: InstalledLoader['firmware'], file: string): Known {
  const paths = ['/usr/lib/ipxe', '/usr/share/ipxe', '/usr/share/ipxe/x86_64'].map((folder) =>
    join(folder, file),
  );
  return { name, firmware, paths, packageName: 'ipxe', verifies: false, verification: STOCK_IPXE };
}

/**
 * What is installed, in a fixed order. Throws an `IoError` where that cannot be told.
 *
 * @param root where to look; `/` but for tests.
 */
export async function installedLoaders(root = '/'): Promise<readonly InstalledLoader[]> {
  const found: InstalledLoader[] = [];
  for (const { paths, ...loader } of KNOWN) {
    for (const path of paths) {
      if (!(await isThere(join(root, path)))) continue;
      found.push({ ...loader, path: path.replace(/\/pgp\.mod$/, '') });
      break;
    }
  }
  return found;
}
