import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './command.ts';

/** A machine's own disk, as small as one can be: it says that it was reached, and stays there. */

/** What it says, on the screen and so on the serial console. */
export const OWN_DISK_LINE = 'THE OWN DISK WAS REACHED';

/** Prints the text behind it by the BIOS (int 10h, function 0Eh), then halts. Loaded at 0000:7C00. */
const PRINT = Buffer.from('31c08ed8be197cfcac08c07409b40ebb0700cd10ebf2f4ebfd', 'hex');
const SECTOR = 512;
const SIZE = 1 << 20;

/** A raw image whose first sector a BIOS starts. */
export async function biosDisk(folder: string): Promise<string> {
  const disk = Buffer.alloc(SIZE);
  PRINT.copy(disk);
  disk.write(`\r\n${OWN_DISK_LINE}\r\n\0`, PRINT.length, 'latin1');
  disk.writeUInt16LE(0xaa55, SECTOR - 2);
  const file = join(folder, 'own-disk.img');
  await writeFile(file, disk);
  return file;
}

/** QEMU's arguments for a disk with a program that UEFI starts: a GRUB that checks nothing and says the line. */
export async function efiDisk(folder: string): Promise<readonly string[]> {
  const config = join(folder, 'own-disk.cfg');
  const program = join(folder, 'own-disk.efi');
  await writeFile(config, `echo "${OWN_DISK_LINE}"\nsleep 600\n`);
  await run('grub-mkimage', ['-O', 'x86_64-efi', '-p', '/', '-c', config, '-o', program, 'echo', 'sleep']);
  return efiMedium(folder, 'own-disk', program, 2);
}

/** The same for a stick with a loader, which the firmware tries before that disk. */
export function efiStick(folder: string, loader: string): Promise<readonly string[]> {
  return efiMedium(folder, 'stick', loader, 1);
}

/** @param place in the firmware's order; it leaves out what QEMU gives none. */
async function efiMedium(
  folder: string,
  name: string,
  program: string,
  place: number,
): Promise<readonly string[]> {
  const root = join(folder, name);
  await mkdir(join(root, 'EFI/BOOT'), { recursive: true });
  await cp(program, join(root, 'EFI/BOOT/BOOTX64.EFI'));
  return [
    ...['-drive', `if=none,id=${name},format=raw,readonly=on,file=fat:${root}`],
    ...['-device', `virtio-blk-pci,drive=${name},bootindex=${place}`],
  ];
}
