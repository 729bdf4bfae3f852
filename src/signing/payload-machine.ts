import { Refusal } from '../errors/refusal.ts';
import { type KernelFacts, kernelText, startsOn } from '../formats/efi/kernel-shape.ts';
import type { Artifact, Layout } from '../release/layout.ts';

/** Names that distributions and loaders have for what `uname -m` calls otherwise; early userspace compares with that. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  amd64: 'x86_64',
  x64: 'x86_64',
  arm64: 'aarch64',
  aa64: 'aarch64',
};

/**
 * A manifest names the machines that it is for, and early userspace refuses others. A kernel that cannot start on one of
 * those would only be found out there, by each of them.
 *
 * @throws Refusal `wrong-machine`.
 */
export function demandMachine(
  { release, arch }: Pick<Layout, 'release' | 'arch'>,
  { path }: Artifact,
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
