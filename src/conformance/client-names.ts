import { UsageError } from '../errors/usage.ts';

/** The machines that a release must satisfy, each with its own rules of acceptance. */
export const CLIENTS = ['ipxe', 'ipxe-efi', 'grub', 'archiso', 'manifest'] as const;
export type ClientName = (typeof CLIENTS)[number];

export const CLIENT_SUMMARY: Readonly<Record<ClientName, string>> = {
  ipxe: 'iPXE on a BIOS: imgverify on script, kernel and initrds, each by the name its script demands',
  'ipxe-efi': 'iPXE under UEFI: the same',
  grub: 'GRUB: OpenPGP on grub.cfg by the script key, on kernel and initrds by the payload key',
  archiso: 'archiso as it is: checksum, gpg and openssl with its own flags, keys from the initramfs',
  manifest: 'our early userspace: the manifest, then the command line, then all of the above',
};

/** Splits `--as` at its commas. Throws a `Refusal` (`malformed`) for a client that there is not. */
export function clientNames(text: string): ClientName[] {
  return text.split(',').map((word) => {
    const name = CLIENTS.find((candidate) => candidate === word);
    if (name !== undefined) return name;
    throw new UsageError(`There is no client ${JSON.stringify(word)}; there are ${CLIENTS.join(', ')}.`);
  });
}
