import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { cpioEntries, encodeCpio } from '../formats/archive/cpio.ts';

/** The release that `demo` makes: Arch's layout, real seals, and content that no machine can run. */
export const SAMPLE_RELEASE = 'arch/2026.11.01';

const NOTE = 'Bootseal sample release: this file has the shape of the real one, and nothing to run.\n';
const KERNEL_OCTETS = 2 * 1024 * 1024;
const ROOT_OCTETS = 32 * 1024 * 1024;

/**
 * Writes a small netboot tree whose initramfs holds the public keys of `keys`, as a real one must.
 *
 * @param keys an `init` folder.
 */
export async function writeSample(tree: string, keys: string): Promise<void> {
  const anchor = (name: string) => readFile(join(keys, 'anchors', name));
  const initramfs = encodeCpio(
    cpioEntries(
      [
        { kind: 'file', name: 'README', data: Buffer.from(NOTE) },
        { kind: 'file', name: 'codesign.crt', data: await anchor('codesign.crt') },
        { kind: 'file', name: 'codesign_CA.crt', data: await anchor('ca.crt') },
        { kind: 'directory', name: 'gpg', mode: 0o700 },
        { kind: 'file', name: 'gpg/pubring.gpg', data: await anchor('pubring.gpg') },
        { kind: 'directory', name: 'bootseal' },
        { kind: 'file', name: 'bootseal/manifest.crt', data: await anchor('manifest.crt') },
        { kind: 'file', name: 'bootseal/manifest.gpg', data: await anchor('manifest.gpg') },
      ],
      0,
    ),
  );
  const write = async (path: string, bytes: Uint8Array) => {
    await mkdir(dirname(join(tree, path)), { recursive: true });
    await writeFile(join(tree, path), bytes);
  };
  await write('arch/version', Buffer.from('2026.11.01\n'));
  await write('arch/boot/x86_64/vmlinuz-linux', sampleKernel());
  await write('arch/boot/x86_64/initramfs-linux.img', gzipSync(initramfs));
  await write('arch/x86_64/airootfs.sfs', filled(Buffer.from(`hsqs${NOTE}`), ROOT_OCTETS));
}

/** Enough of the headers of a Linux kernel, boot protocol and EFI stub, for a loader to take it for one. */
function sampleKernel(): Uint8Array {
  const kernel = Buffer.from(filled(Buffer.from(NOTE), KERNEL_OCTETS));
  kernel.writeUInt8(4, 0x1f1);
  kernel.writeUInt16LE(0xaa55, 0x1fe);
  kernel.write('HdrS', 0x202, 'latin1');
  kernel.writeUInt16LE(0x020f, 0x206);
  kernel.writeUInt32LE(2048, 0x238);
  kernel.write('MZ', 0, 'latin1');
  kernel.writeUInt32LE(0x40, 0x3c);
  kernel.write('PE\0\0', 0x40, 'latin1');
  return kernel;
}

function filled(pattern: Uint8Array, octets: number): Uint8Array {
  return Buffer.alloc(octets, pattern);
}
