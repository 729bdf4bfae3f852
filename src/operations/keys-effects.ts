export type StatusKind =
  | 'ca'
  | 'codesign'
  | 'boot'
  | 'release'
  | 'openpgp'
  | 'snapshot key'
  | 'best-before'
  | 'snapshot';

/** What stops on the day something ends, for whom, and what to do before: in plain words, one sentence each. */
export const EFFECT: Readonly<Record<StatusKind, (usedBy: readonly string[], name: string) => string>> = {
  ca: () =>
    'iPXE refuses everything under this CA, and early userspace every .cms.sig: no machine whose loader trusts it starts any release of this site until it has a loader with a new CA ("bootseal keys rotate --only ca").',
  codesign: (usedBy) =>
    `early userspace refuses the root image of ${list(usedBy)}: machines stop after the kernel, before the root file system, until a release is sealed with a new codesign leaf whose certificate stands in its initramfs as /codesign.crt.`,
  boot: (usedBy) =>
    `iPXE refuses boot.ipxe of ${list(usedBy)}: no machine with an iPXE that verifies starts any release of this site until boot.ipxe is sealed anew with a new boot leaf.`,
  release: (usedBy) =>
    `iPXE refuses kernel and initrds of ${list(usedBy)}: no machine with an iPXE that verifies starts it until it is sealed anew, or a newer release takes its place.`,
  openpgp: (usedBy) =>
    `early userspace (gpg) refuses the root image of ${list(usedBy)}, and bootseal publishes and serves it no more, until it is sealed with a key that the initramfs holds; GRUB, which knows no expiry, goes on.`,
  'snapshot key': (usedBy) =>
    `mirrors and whoever else follows ${list(usedBy, 'a channel that it signs')} refuse its snapshots until they hold a new snapshot.crt; machines boot on.`,
  'best-before': (_, name) =>
    `bootseal serves ${name} no more, and machines with a Bootseal overlay refuse it, until it is sealed anew or a newer release takes its place; iPXE, GRUB and archiso as it is know no best-before and go on.`,
  snapshot: (_, name) =>
    `mirrors and whoever else follows ${name} take it for stale until "bootseal channel renew ${name}"; machines boot on.`,
};

function list(names: readonly string[], none = 'every release sealed with it'): string {
  const [first] = names;
  if (first === undefined) return none;
  return names.length === 1 ? first : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}
