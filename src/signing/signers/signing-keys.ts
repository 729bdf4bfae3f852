/** The keys of an `init` folder that may live elsewhere. */
export const SIGNING_KEYS = [
  'ca',
  'codesign',
  'boot',
  'manifest',
  'openpgp',
  'openpgp-script',
  'openpgp-manifest',
  'db',
  'pcr',
] as const;
export type SigningKey = (typeof SIGNING_KEYS)[number];
