/**
 * How far a boot can be trusted by what began it: one closed set, computed here alone. It is what a machine *claims*:
 * whoever replaced its loader can have it say anything, so it is shown and recorded, and unlocks nothing.
 */
export const TRUST_LEVELS = {
  /** The loader is the machine's own, and demands signatures of all that it starts. */
  'local-imgverify': 'ROM or flash with imgverify',
  /** The same, fetched by plain TFTP or HTTP: whoever answers faster on that LAN can send another one. */
  'network-imgverify': 'network loader with imgverify',
  /** An image that holds the site's OpenPGP keys. Where it was itself fetched by plain TFTP, that LAN can replace it. */
  grub: 'GRUB enforcing',
  /** Firmware verifies one image with kernel, initrds and command line inside. */
  'secure-boot': 'Secure Boot',
  /** Nobody verifies what the loader starts. */
  stock: 'stock (unverified)',
} as const;

export type TrustLevel = keyof typeof TRUST_LEVELS;

/** What is known of the loader that asks for a boot's first script or image. */
export type LoaderClaims =
  | {
      readonly loader: 'ipxe';
      /** It asked for a script that it can only run if it verifies: it is built with `embedded.ipxe`, or ran autoexec. */
      readonly verifies: boolean;
      /** It says that it was not itself fetched over a network. */
      readonly local?: boolean;
      /** It was seen to be fetched from a server of ours. */
      readonly fetched?: boolean;
    }
  | { readonly loader: 'grub' }
  /** Firmware, or an iPXE that checked that the firmware enforces, fetches an image. */
  | { readonly loader: 'firmware' };

/** The level of a boot. What is not claimed counts as the lower of two, and what was seen goes before what is said. */
export function trustLevelOf(claims: LoaderClaims): TrustLevel {
  if (claims.loader === 'grub') return 'grub';
  if (claims.loader === 'firmware') return 'secure-boot';
  if (!claims.verifies) return 'stock';
  return claims.local === true && claims.fetched !== true ? 'local-imgverify' : 'network-imgverify';
}
