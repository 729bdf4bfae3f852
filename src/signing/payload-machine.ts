import { Refusal } from '../errors/refusal.ts';
import { machineOfElf } from '../formats/archive/elf.ts';
import { type KernelFacts, kernelText, startsOn } from '../formats/efi/kernel-shape.ts';
import type { Artifact, Layout } from '../release/layout.ts';

/**
 * A manifest names the machines that it is for, and early userspace refuses others. A kernel that cannot start on one of
 * those, or an overlay whose programs do not run there, would only be found out by each of them.
 */

/** Names that distributions and loaders have for what `uname -m` calls otherwise; early userspace compares with that. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  amd64: 'x86_64',
  x64: 'x86_64',
  arm64: 'aarch64',
  aa64: 'aarch64',
};

/** Throws a `Refusal` (`wrong-machine`) where a payload's first bytes say that it is for other machines. */
export function demandMachine(
  layout: Pick<Layout, 'release' | 'arch'>,
  { path }: Pick<Artifact, 'path'>,
  { kernel, programs }: { readonly kernel: KernelFacts | undefined; readonly programs: string | undefined },
): void {
  if (kernel) demandKernel(layout, path, kernel);
  const { release, arch } = layout;
  if (programs === undefined || programs === arch) return;
  throw new Refusal(
    'wrong-machine',
    `The overlay ${path} holds programs for ${programs}, and ${release} is for ${arch}; build it with --arch ${arch}.`,
    { path, arch, machine: programs },
  );
}

function demandKernel(
  { release, arch }: Pick<Layout, 'release' | 'arch'>,
  path: string,
  kernel: KernelFacts,
): void {
  if (startsOn(kernel, arch) !== false) return;
  const shape = kernelText(kernel);
  const facts = { path, arch, machine: kernel.machine, shape };
  const meant = OTHER_NAMES[arch];
  if (meant !== undefined && startsOn(kernel, meant)) {
    throw new Refusal(
      'wrong-machine',
      `${release} says that it is for ${arch}, and its machines call themselves ${meant}; write arch = "${meant}" or --arch ${meant}.`,
      facts,
    );
  }
  const said = kernel.machine === 'x86' ? 'x86_64' : kernel.machine;
  throw new Refusal(
    'wrong-machine',
    `The kernel ${path} (${shape}) is for ${kernel.machine}, and ${release} is for ${arch}; where the kernel is the right one, say --arch ${said}.`,
    facts,
  );
}

/** Runs in every overlay, and lies near its beginning. */
const BUSYBOX = Buffer.from('bootseal/bin/busybox\0', 'latin1');
/** Bytes of a newc header, before the name: cpio(5). */
const HEADER = 110;

/**
 * Which machine an overlay's programs are for, as `uname -m` says it there; undefined for what is no overlay of ours.
 *
 * @param head the archive's first 64 KiB, or all of it.
 */
export function machineOfOverlay(head: Uint8Array): string | undefined {
  const bytes = Buffer.from(head.buffer, head.byteOffset, head.length);
  const name = bytes.indexOf(BUSYBOX);
  if (name < HEADER || bytes.toString('latin1', name - HEADER, name - HEADER + 6) !== '070701')
    return undefined;
  // Name and content each end at a multiple of four.
  const content = (name + BUSYBOX.length + 3) & ~3;
  return machineOfElf(bytes.subarray(content, content + 20));
}
