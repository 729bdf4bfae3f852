/** What is appended to an artifact's name to name its seals. */
export const SEAL = {
  /** CMS with the whole chain inside, for iPXE. */
  ipxe: '.ipxe.sig',
  /** CMS without certificates, for early userspace. */
  cms: '.cms.sig',
  /** OpenPGP, for early userspace and GRUB; beside `boot.ipxe` it is CMS, since that is how iPXE asks for it. */
  openpgp: '.sig',
} as const;

/** The small records of a release, at the top of its tree. */
export const RECORD = {
  bootIpxe: 'boot.ipxe',
  grubCfg: 'grub.cfg',
  manifest: 'release.manifest',
} as const;

/** `airootfs.sha512` beside `airootfs.sfs`: one name for whichever suffix the image has. */
export function checksumPath(rootfs: string): string {
  return rootfs.replace(/\.[^./]*$/, '').concat('.sha512');
}
