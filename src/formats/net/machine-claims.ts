/**
 * What a loader says of its machine in the query of an address: `mac=52-54-00-12-34-56&uuid=…&firmware=pcbios`. Claims of
 * whoever asks: they may select what it gets, and never more. What is not of its form was not said.
 */
export interface MachineClaims {
  /** `52:54:00:12:34:56` */
  readonly mac?: string;
  /** Lower-case hex with dashes, as the loader writes it. */
  readonly uuid?: string;
  /** `uname -m`'s name. */
  readonly arch?: string;
  readonly firmware?: 'bios' | 'efi';
  /** Of SMBIOS: printable ASCII, at most 64 characters, as are those below. */
  readonly serial?: string;
  readonly asset?: string;
  readonly manufacturer?: string;
  readonly product?: string;
  /** Whether its loader was itself fetched over a network. */
  readonly network?: boolean;
}

/**
 * iPXE's `${buildarch}` → `uname -m`. `i386` says nothing: every iPXE for a BIOS is built for that, on whatever it runs.
 */
const ARCHES: ReadonlyMap<string, string> = new Map([
  ['x86_64', 'x86_64'],
  ['arm32', 'armv7l'],
  ['arm64', 'aarch64'],
  ['loong64', 'loongarch64'],
  ['riscv64', 'riscv64'],
]);
/** iPXE's `${platform}`. */
const FIRMWARES: ReadonlyMap<string, 'bios' | 'efi'> = new Map([
  ['pcbios', 'bios'],
  ['efi', 'efi'],
]);

/** What `embedded.ipxe` found at its start. */
const FETCHED: ReadonlyMap<string, boolean> = new Map([
  ['0', false],
  ['1', true],
]);

/** A claim of printable ASCII; what is longer, or holds anything else, or only blanks, was not said. */
export function claimedText(text: string | null | undefined): string | undefined {
  const plain = text?.trim();
  return plain !== undefined && /^[\x20-\x7e]{1,64}$/.test(plain) ? plain : undefined;
}

/**
 * A MAC address as loaders and people write it, with colons or dashes, in any case.
 *
 * @returns with colons, in small letters; undefined for what is none, and for one that no card has: a group's, or zero.
 */
export function claimedMac(text: string | null | undefined): string | undefined {
  if (!text || !/^[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}$/.test(text)) return undefined;
  const mac = text.toLowerCase().replaceAll('-', ':');
  const group = Number.parseInt(mac.slice(0, 2), 16) & 1;
  return group === 1 || mac === '00:00:00:00:00:00' ? undefined : mac;
}

/** A UUID in small letters; undefined for what is none, and for the two that firmware writes where it has none. */
export function claimedUuid(text: string | null | undefined): string | undefined {
  if (!text || !/^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$/.test(text)) return undefined;
  return /^[0-]+$|^[fF-]+$/.test(text) ? undefined : text.toLowerCase();
}

/**
 * The same UUID with its first three fields the other way round: SMBIOS before 2.6 said nothing of their order, so that
 * iPXE and Linux print such a machine's as its bytes stand, and GRUB turned round.
 *
 * @param uuid of 36 characters.
 */
export function swappedUuid(uuid: string): string {
  const turned = (field: string) => (field.match(/../g) ?? []).reverse().join('');
  const [a = '', b = '', c = '', ...rest] = uuid.split('-');
  return [turned(a), turned(b), turned(c), ...rest].join('-');
}

/** Reads the query that `identity.ipxe` writes. Nothing in it is an error: a machine that says nothing is one, too. */
export function machineClaims(query: URLSearchParams): MachineClaims {
  if (query.size === 0) return {};
  const said = new Map<string, string | undefined>();
  // Said twice is said by two, and one of them is not the loader.
  for (const [name, value] of query) said.set(name, said.has(name) ? undefined : value);
  const claims: Record<string, unknown> = {};
  for (const [name, read] of CLAIMS) {
    const text = said.get(name);
    const claim = text === undefined ? undefined : read(text);
    if (claim !== undefined) claims[name] = claim;
  }
  return claims;
}

/** By its name in the query: how it is read; undefined for what is not of its form. */
const CLAIMS: readonly (readonly [keyof MachineClaims, (text: string) => unknown])[] = [
  ['mac', claimedMac],
  ['uuid', claimedUuid],
  ['arch', (text) => ARCHES.get(text)],
  ['firmware', (text) => FIRMWARES.get(text)],
  ['serial', claimedText],
  ['asset', claimedText],
  ['manufacturer', claimedText],
  ['product', claimedText],
  ['network', (text) => FETCHED.get(text)],
];
