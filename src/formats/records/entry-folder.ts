/**
 * Where machines of one architecture begin at a server: `entries/aarch64` holds what the top holds (`boot.ipxe`,
 * `grub.cfg`, `uki.efi`, each with its seal), of the release that the channel names for them. No loader can say on a
 * plain fetch what it runs on, so whoever builds or points to one for other machines than x86 puts the folder in.
 *
 * @param arch `uname -m` of the machines.
 */
export function entryFolder(arch: string): string {
  return `entries/${arch}`;
}

/** Splits such a path, `/entries/aarch64/grub.cfg`; the rest begins with `/`. Undefined for what is no such path. */
export function entryOf(path: string): { readonly arch: string; readonly rest: string } | undefined {
  const [, arch, rest] = /^\/entries\/([A-Za-z0-9_.-]{1,64})(\/.+)$/.exec(path) ?? [];
  return arch === undefined || rest === undefined ? undefined : { arch, rest };
}
