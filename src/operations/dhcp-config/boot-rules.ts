/**
 * Which machine gets which first file from DHCP: the one table behind every dialect. Architectures are RFC 4578's, as
 * corrected by its erratum (x64 is 7, and 9 in the field), and IANA's "Processor Architecture Types".
 */

/** A kind of loader file, by the firmware that starts it. */
export type LoaderKind = 'bios' | 'ia32' | 'efi' | 'arm64';

/** Names of files at the server; a kind without one gets no rule. */
export type LoaderFiles = { readonly [kind in LoaderKind]?: string };

/** How a client says what it is. */
export type ClientMatch =
  /** Option 77. iPXE sends it bare, RFC 3004 with a length before it. */
  | {
      readonly by: 'user-class';
      readonly text: string;
      /** What option 60 begins with, too. */
      readonly vendor?: string;
    }
  /** Option 60 begins so, and option 93 names one of these. */
  | {
      readonly by: 'firmware';
      readonly vendor: 'PXEClient' | 'HTTPClient';
      readonly architectures: readonly number[];
    };

interface ClientKind {
  /** Small letters, digits and dashes: a tag, a class, a section. */
  readonly name: string;
  /** For people. */
  readonly what: string;
  readonly match: ClientMatch;
  readonly gets: LoaderKind | 'entry' | 'advice';
}

/** What a DHCP server must tell one kind of client. */
export interface BootRule extends Omit<ClientKind, 'gets'> {
  /** An IPv4 address: siaddr. A verifying iPXE fetches from it, whatever the file is. */
  readonly server: string;
  /** A path at that server's TFTP, or a URL. */
  readonly file: string;
}

/**
 * In this order, and the first that fits: an iPXE also says that it is a PXEClient. What firmware of HTTP Boot is told
 * must say HTTPClient itself, or it is not taken.
 */
const CLIENT_KINDS: readonly ClientKind[] = [
  {
    name: 'own',
    what: 'your own iPXE',
    match: { by: 'user-class', text: 'bootseal' },
    gets: 'entry',
  },
  // iPXE that was loaded from here by undionly.kpxe's interface leaves the architecture out: it does not get itself.
  {
    name: 'ipxe-rom',
    what: 'iPXE in the ROM of a card, BIOS',
    match: { by: 'user-class', text: 'iPXE', vendor: 'PXEClient:Arch:00000' },
    gets: 'bios',
  },
  { name: 'ipxe', what: 'any other iPXE', match: { by: 'user-class', text: 'iPXE' }, gets: 'advice' },
  firmware('bios', 'BIOS', 'PXEClient', [0], 'bios'),
  firmware('ia32', 'UEFI ia32', 'PXEClient', [6], 'ia32'),
  firmware('efi', 'UEFI x64', 'PXEClient', [7, 9], 'efi'),
  firmware('arm64', 'UEFI arm64', 'PXEClient', [11], 'arm64'),
  firmware('http-ia32', 'UEFI ia32, HTTP Boot', 'HTTPClient', [15], 'ia32'),
  firmware('http-efi', 'UEFI x64, HTTP Boot', 'HTTPClient', [16], 'efi'),
  firmware('http-arm64', 'UEFI arm64, HTTP Boot', 'HTTPClient', [19], 'arm64'),
];

function firmware(
  name: string,
  what: string,
  vendor: 'PXEClient' | 'HTTPClient',
  architectures: readonly number[],
  gets: LoaderKind,
): ClientKind {
  return { name, what, match: { by: 'firmware', vendor, architectures }, gets };
}

export interface BootRuleOptions {
  readonly server: string;
  readonly httpPort: number;
  readonly loaders: LoaderFiles;
  /**
   * What an iPXE that does not say `bootseal` gets: `script`, the server's /autoexec.ipxe, but for one in a BIOS' ROM, or
   * `loader`, what its firmware gets. A stock iPXE that gets itself as a loader goes round for ever.
   */
  readonly otherIpxe: 'script' | 'loader';
}

/** The rules of a site, in the order in which they must be tried. */
export function bootRules({ server, httpPort, loaders, otherIpxe }: BootRuleOptions): readonly BootRule[] {
  const base = `http://${server}${httpPort === 80 ? '' : `:${httpPort}`}`;
  const fileOf = ({ match, gets }: ClientKind): string | undefined => {
    if (gets === 'entry') return `${base}/boot.ipxe`;
    if (gets === 'advice') return otherIpxe === 'script' ? `${base}/autoexec.ipxe` : undefined;
    // With a loader for whatever iPXE it is, the one in a ROM needs no rule of its own.
    if (match.by === 'user-class' && otherIpxe === 'loader') return undefined;
    const file = loaders[gets];
    const byUrl = match.by === 'firmware' && match.vendor === 'HTTPClient';
    return file !== undefined && byUrl ? `${base}/${file}` : file;
  };
  return CLIENT_KINDS.flatMap((kind) => {
    const file = fileOf(kind);
    if (file === undefined) return [];
    const { name, what, match } = kind;
    return [{ name, what, match, server, file }];
  });
}

/** The kinds of firmware that no rule is for, for people. */
export function withoutLoader(loaders: LoaderFiles): readonly string[] {
  return CLIENT_KINDS.flatMap(({ gets, match, what }) =>
    gets !== 'entry' && gets !== 'advice' && loaders[gets] === undefined && isPxe(match) ? [what] : [],
  );
}

function isPxe(match: ClientMatch): boolean {
  return match.by === 'firmware' && match.vendor === 'PXEClient';
}

/** True for what is told apart by two options at once, which not every server can. */
export function needsTwoOptions({ match }: BootRule): boolean {
  return match.by === 'user-class' && match.vendor !== undefined;
}

/** True for what must be told `HTTPClient` in option 60. */
export function isHttpBoot({ match }: BootRule): boolean {
  return match.by === 'firmware' && match.vendor === 'HTTPClient';
}
