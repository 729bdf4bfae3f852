/** What is appended to an artifact's name to name its seals. */
export const SEAL = {
  /** CMS with the whole chain inside, for iPXE. */
  ipxe: '.ipxe.sig',
  /** CMS without certificates, for early userspace. */
  cms: '.cms.sig',
  /** OpenPGP, for early userspace and GRUB. */
  openpgp: '.sig',
} as const;

/** Beside a `boot.ipxe`: CMS, as `SEAL.ipxe` is, under the name by which `embedded.ipxe` asks for it. */
export const SCRIPT_SEAL = '.sig';

/** The small records of a release, at the top of its tree. */
export const RECORD = {
  bootIpxe: 'boot.ipxe',
  grubCfg: 'grub.cfg',
  manifest: 'release.manifest',
} as const;

/** The whole boot in one file, for Secure Boot firmware: it names the manifest, so the manifest cannot list it. */
export const UKI = 'uki.efi';

/**
 * What everybody's tools judge a release by: SHA-256 of what lies in a folder, in the form of sha256sum, and the
 * OpenPGP signature that systemd's downloaders ask for beside it (systemd-pull, importctl, systemd-sysupdate).
 */
export const SUMS = { name: 'SHA256SUMS', seal: '.gpg' } as const;

/** Whether a path is that of such a list, in whatever folder. */
export function isSums(path: string): boolean {
  return path === SUMS.name || path.endsWith(`/${SUMS.name}`);
}

/** Whether a path is that of a seal with a signature in it: of a file, a record or a script. */
export function isSealName(path: string): boolean {
  return (
    path.endsWith(SEAL.openpgp) || (path.endsWith(SUMS.seal) && isSums(path.slice(0, -SUMS.seal.length)))
  );
}

/**
 * What dm-verity needs beside a root image. Tree and root hash are named as systemd names them; the seal is not. By
 * systemd's name (`.p7s`) its downloaders would fetch it with the image, and refuse the image where a signed list of
 * sums does not name it, which no list can that is signed in the same round.
 */
export const VERITY = {
  /** The hash device. Payload: the manifest lists it. */
  tree: '.verity',
  /** The root hash, 64 hex digits. */
  rootHash: '.roothash',
  /** CMS over those digits, as `SEAL.cms` is made. */
  seal: SEAL.cms,
} as const;

/** `airootfs.sha512` beside `airootfs.sfs`: one name for whichever suffix the image has. */
export function checksumPath(rootfs: string): string {
  return rootfs.replace(/\.[^./]*$/, '').concat('.sha512');
}

/**
 * The second set of iPXE seals, for loaders that trust another CA while it is being replaced. iPXE wants every
 * signer of one file to lead to its own CA, so each CA has files of its own.
 *
 * @param id first 16 hex digits of that CA's SHA-256.
 */
export function otherIpxeSeal(id: string): string {
  return `.${id}${SEAL.ipxe}`;
}

/** `boot.ipxe` for loaders that trust another CA; its seal stands beside it, `.sig`. */
export function otherBootIpxe(id: string): string {
  return `boot.${id}.ipxe`;
}

/** The CA that such a `boot.ipxe` is for; undefined for any other name. */
export function otherCaOf(name: string): string | undefined {
  return /^boot\.([0-9a-f]{16})\.ipxe$/.exec(name)?.[1];
}
